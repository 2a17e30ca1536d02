"""Preparing many pictures: time and memory as they grow in number; a header's cost against a decode's."""

import json
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from maskline.pictures import open_upright, read_header, scaled_grey

from .harness import Figure, in_turn

FEW, MANY = 5_000, 20_000
OBJECTS = 5
"""A picture; 20,000 pictures have 100,000."""
WIDTH, HEIGHT = 160, 120
_PREPARE = """
import os, pathlib, sys, threading, time
from pathlib import Path
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.data_preparation.report import write_report

def resident():
    memory, parents = {}, {}
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            memory[int(place.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            continue
        parents[int(place.name)] = int(fields[1])
    tree = {os.getpid()}
    while new := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= new
    return sum(memory.get(number, 0) for number in tree)

def watch():
    while True:
        peaks.append(max(peaks.pop(), resident()))
        time.sleep(0.1)

peaks = [0]
threading.Thread(target=watch, daemon=True).start()
write_report(prepare(Source(sys.argv[1], "coco"), out=sys.argv[2]), Path(sys.argv[2]) / "report.html")
print(max(peaks, default=0) or resident())
"""


def measure() -> Iterator[Figure]:
    """CPU time of 20,000 pictures against 5,000, with the report; peak memory; a header against a decode."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        script = folder / "run.py"
        script.write_text(_PREPARE)
        few, many = _data(folder / "few", FEW), _data(folder / "many", MANY)
        small, _ = _prepare(script, few, folder / "out_few")
        large, memory = _prepare(script, many, folder / "out_many")
        yield Figure("preparation.growth", large / small, 4.3, "lower", f"{FEW} pictures: {small:.1f} s CPU")
        bound = 150 * 1024 + 10 * MANY * OBJECTS
        peer = f"150 MiB + 10 KiB x {MANY * OBJECTS} annotations; {memory / 1024:.0f} MiB at the peak"
        yield Figure("preparation.memory", memory / bound, 1.0, "lower", peer)
        yield from _headers(folder)


def _data(folder: Path, pictures: int) -> Path:
    """Pictures that all look different, with quadrilaterals on them, as COCO JSON."""
    (folder / "images").mkdir(parents=True)
    draw = random.Random(0)  # noqa: S311  no secret is drawn
    noise = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(pictures):
        name = f"images/{number:06d}.jpg"
        small = Image.fromarray(noise.integers(0, 255, (9, 12, 3), dtype=np.uint8))
        small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / name, quality=90)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for _ in range(OBJECTS):
            x, y, side = draw.uniform(0, 120), draw.uniform(0, 80), draw.uniform(8, 40)
            ring = [x, y, x + side, y + 3, x + side - 2, y + side, x - 1, y + side - 4]
            shape = {"segmentation": [[round(v, 2) for v in ring]], "iscrowd": 0}
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": draw.randrange(20), **shape}
            )
    categories = [{"id": key, "name": f"class {key}"} for key in range(20)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "all.json").write_text(json.dumps(data))
    return folder / "all.json"


def _prepare(script: Path, data: Path, out: Path) -> tuple[float, float]:
    """CPU seconds of a preparation in a process of its own, and its peak memory in KiB; both with workers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, str(script), str(data), str(out)], check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, int(done.stdout) / 1024


def _headers(folder: Path) -> Iterator[Figure]:
    file = folder / "photograph.jpg"
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((1280, 960), Image.Resampling.BICUBIC).save(file, quality=92)

    def often(read: Callable[[Path], object]) -> Callable[[], None]:
        return lambda: [read(file) for _ in range(20)] and None

    header, scaled, full = in_turn(
        often(read_header), often(lambda f: scaled_grey(f, 64)), often(open_upright)
    )
    peer = f"a full decode of 1280x960 JPEG: {full / 20 * 1000:.1f} ms CPU"
    yield Figure("preparation.header", full / header, 10.0, "higher", peer)
    yield Figure("preparation.scaled", full / scaled, 1.5, "higher", peer)
