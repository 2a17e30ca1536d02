"""`make bench [ONLY=name]`: every figure that the project quotes, measured again."""

import argparse
import sys

from . import (
    data_path,
    data_path_ap,
    early_termination,
    equal_time,
    evaluation,
    first_step,
    light_model,
    onnx_variants,
    orchestration,
    pasting,
    prediction,
    preparation,
    rfdetr,
    serving,
    startup,
    study_cost,
    tiling,
    training_step,
    worker_memory,
)
from .harness import run

BENCHMARKS = {
    "data_path": data_path.measure,
    "data_path_ap": data_path_ap.measure,
    "early_termination": early_termination.measure,
    "equal_time": equal_time.measure,
    "first_step": first_step.measure,
    "evaluation": evaluation.measure,
    "light_model": light_model.measure,
    "onnx_variants": onnx_variants.measure,
    "orchestration": orchestration.measure,
    "pasting": pasting.measure,
    "prediction": prediction.measure,
    "preparation": preparation.measure,
    "rfdetr": rfdetr.measure,
    "serving": serving.measure,
    "startup": startup.measure,
    "study_cost": study_cost.measure,
    "tiling": tiling.measure,
    "training_step": training_step.measure,
    "worker_memory": worker_memory.measure,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only")
    sys.exit(run(BENCHMARKS, parser.parse_args().only))
