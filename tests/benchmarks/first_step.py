"""How long the processor works before a trial's first step, beside what `import torchvision` alone takes."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.sample_data import write_sample_data

from .harness import Figure

ROUNDS = 5
FIRST_STEP = """
import builtins, os
from maskline.components.sweep_trial import __main__ as process
real = builtins.__import__
def watched(name, *rest):
    module = real(name, *rest)
    if name == "train":
        module.Gradients.of = lambda *_: os._exit(7)  # all is ready, and the first step begins
    return module
builtins.__import__ = watched
process.main()
"""
BARE = "import os, torchvision; os._exit(7)"  # without the end of the interpreter, as above
SETTINGS = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 64,
    "max_size": 64,
    "number_of_workers": 0,
}


def measure() -> Iterator[Figure]:
    """CPU time from the start of the process to the first step of the light model, pictures at hand."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sample_data(root / "data", pictures=10, size=64)
        parts = (Source(str(root / "data" / name), "mltable") for name in ("train", "validation"))
        prepare(*parts, out=root / "prepared")
        spec = TrialSpec(SETTINGS, str(root / "prepared"), str(root / "0"), 1, time.time() + 3600).write()
        ours, bare = [], []
        for _ in range(ROUNDS):
            ours.append(_cpu(FIRST_STEP, str(spec)))
            bare.append(_cpu(BARE))
    ratio = median(mine / theirs for mine, theirs in zip(ours, bare, strict=True))
    peer = f"import torchvision: {median(bare):.2f} s of CPU"
    yield Figure("first_step.cpu", ratio, 1.1, "lower", peer)


def _cpu(code: str, *arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False)
    if done.returncode != 7:
        raise RuntimeError(done.stderr.decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
