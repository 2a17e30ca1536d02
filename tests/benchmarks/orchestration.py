"""What the number of trials costs before any is trained."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from maskline import Input, automl
from maskline.automl import SearchSpace
from maskline.pipelines.compiler import compile_job
from maskline.sweep import Choice

from .harness import Figure


def measure() -> Iterator[Figure]:
    """Bytes of KFP's intermediate representation with 1,000 trials, and against one with 10."""
    with tempfile.TemporaryDirectory() as folder:
        small, large = (_compiled(trials, Path(folder) / f"{trials}.yaml") for trials in (10, 1000))
    placed = f"and {large[1]} bytes of where stages run in Kubernetes"
    yield Figure("orchestration.ir_1000_trials", large[0] / 1024, 16, "lower", placed, "KiB")
    yield Figure("orchestration.ir_growth", large[0] / small[0], 1.5, "lower", f"10 trials: {small[0]} bytes")


def _compiled(trials: int, file: Path) -> tuple[int, int]:
    """Bytes of the two documents of a pipeline file: the pipeline, and its platform."""
    job = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="/data/train"), target_column_name="label"
    )
    job.set_limits(max_trials=trials, max_concurrent_trials=2)
    job.extend_search_space(SearchSpace(learning_rate=Choice([0.001, 0.01])))
    compile_job(job, file)
    ir, platform = file.read_bytes().split(b"\n---\n")
    return len(ir), len(platform)
