"""What a process that loads pictures takes of memory, and what its batches hold while they wait."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.dataset import PreparedDataset
from maskline.loading import loader
from maskline.settings import complete
from maskline.training_data import TrainingDataset

from .harness import Figure

DATA = (Path(__file__).parents[2] / "../shared/data/coco_crowd").resolve()
PICTURES = 16
MIB, KIB = 2**20, 2**10
SETTINGS = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 800,
    "max_size": 1333,
    "training_batch_size": 2,
    "number_of_workers": 1,
    "number_of_epochs": 1,
    "advanced_settings": {"cache_mib": 0},  # so that all of the memory is beyond the cache
}


def measure() -> Iterator[Figure]:
    """The most that the loader of a real training of one epoch at 800 px was seen to take, and its batches.

    PSS counts pages of one process in full, and those that n processes share, such as torch's code and what
    was there when the loader was forked, as an nth.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "prepared"
        prepare(Source(str(DATA), "coco"), None, out=data)
        for split in ("train", "validation"):
            _shorten(data / f"{split}.json", PICTURES if split == "train" else 2)
        spec = TrialSpec(SETTINGS, str(data), str(Path(folder) / "0"), 1, time.time() + 3600).write()
        most = _most(spec)
        told = f"private {most['private']:.0f} MiB; RSS, with shared pages in full, {most['Rss']:.0f} MiB"
        yield Figure("worker_memory.pss", most["Pss"], 300, "lower", told, "MiB")
        packed, dense = _waiting(PreparedDataset.read(data).coco("train"))
        told = f"dense, they would take up to {dense / KIB:.0f} KiB"
        yield Figure("worker_memory.masks_of_a_batch", packed / KIB, dense / KIB / 8, "lower", told, "KiB")


def _shorten(file: Path, pictures: int) -> None:
    coco = json.loads(file.read_text(encoding="utf-8"))
    coco["images"] = coco["images"][:pictures]
    known = {image["id"] for image in coco["images"]}
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in known]
    file.write_text(json.dumps(coco), encoding="utf-8")


def _most(spec: Path) -> dict[str, float]:
    """The largest of each measure, in MiB, over the life of the processes that a training starts."""
    most: dict[str, float] = {}
    command = [sys.executable, "-m", "maskline.components.sweep_trial", str(spec)]
    with tempfile.TemporaryFile() as output:
        training = subprocess.Popen(command, stdout=output, stderr=output)
        while training.poll() is None:
            # A process may end while it is looked at.
            with suppress(OSError):
                children = Path(f"/proc/{training.pid}/task/{training.pid}/children").read_text().split()
                for found in map(_memory, children):
                    most = {name: max(size, most.get(name, 0)) for name, size in found.items()}
            time.sleep(0.1)
        output.seek(0)
        if training.returncode or not most:
            raise RuntimeError(output.read().decode())
    return most


def _memory(process: str) -> dict[str, float]:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {name: int(rest.split()[0]) / KIB for name, rest in (line.split(":", 1) for line in lines)}
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    return {"Pss": sizes["Pss"], "Rss": sizes["Rss"], "private": private}


def _waiting(coco: dict[str, Any]) -> tuple[int, int]:
    """Bytes of the masks in the largest batch, as they wait and as they would be if they were dense."""
    dataset = TrainingDataset(coco, complete(SETTINGS), augment=True)
    sizes = []
    for _, targets in loader(dataset, batch_size=2, workers=0):
        masks = [target["masks"] for target in targets]
        packed = sum(one.bits.nbytes + one.places.nbytes for one in masks)
        sizes.append((packed, sum(one.dense().nbytes for one in masks)))
    return max(packed for packed, _ in sizes), max(dense for _, dense in sizes)
