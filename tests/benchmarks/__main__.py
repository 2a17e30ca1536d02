"""`make bench [ONLY=name]`: every figure that the project quotes, measured again."""

import argparse
import sys

from . import light_model, orchestration, pasting, preparation, startup
from .harness import run

BENCHMARKS = {
    "light_model": light_model.measure,
    "orchestration": orchestration.measure,
    "pasting": pasting.measure,
    "preparation": preparation.measure,
    "startup": startup.measure,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only")
    sys.exit(run(BENCHMARKS, parser.parse_args().only))
