"""From a JPEG file to run lengths: the delivered file against torchvision, paste and encode, on one core."""

import copy
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image
from pycocotools import mask as rle
from torch.nn.utils.fusion import fuse_conv_bn_eval

from maskline.checkpoint import Checkpoint
from maskline.components.onnx_export.export import export, finished
from maskline.components.onnx_export.variants import quantised
from maskline.models import build_model, family_of
from maskline.onnx_model import OnnxModel
from maskline.pictures import open_upright

from .harness import Figure, in_turn

SIZE = (640, 480)
DETECTIONS = 100
PROPOSALS = (300, 100)
CHOSEN = {
    "model_name": "maskrcnn_resnet50_fpn",
    "box_score_threshold": 0.0,
    "box_detections_per_image": DETECTIONS,
    "advanced_settings": {"pretrained_weights": "none"},
}
"""Random weights, whose scores of all 80 classes pass a threshold of 0: always 100 detections."""
CLASSES = tuple(f"class {number}" for number in range(80))


def measure() -> Iterator[Figure]:
    """CPU time of one picture of 640x480 with 100 detections, one thread; then cold start."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    described = Checkpoint(CHOSEN, CLASSES, epoch=1)
    detector = build_model(described.training_settings, len(CLASSES)).eval()
    picture = a_jpeg()
    with tempfile.TemporaryDirectory() as folder:
        files = dict(_files(detector, described, picture, Path(folder)))
        peer, *ours = in_turn(
            _torchvision(detector, picture),
            _torchvision(_folded(detector), picture),
            *(_delivered(file, picture) for file in files.values()),
            rounds=5,
        )
        told = f"torchvision eager, paste, encode: {peer:.2f} s"
        for name, seconds in zip(("torch_folded_batch_norm", *files), ours, strict=True):
            yield Figure(f"prediction.{name}", peer / seconds, 1.5, "higher", f"{told}; ours {seconds:.2f} s")
        yield Figure("prediction.cold_start", _cold_start(files["fp32"], picture), 2.0, "lower", "", "s")


def _folded(detector: Any) -> Any:
    """The same in torch with batch normalisation inside of the convolutions, as all ONNX files have it."""
    found = copy.deepcopy(detector)
    body = found.backbone.body
    _fold(body, ("conv1", "bn1"))
    for stage in (body.layer1, body.layer2, body.layer3, body.layer4):
        for block in stage:
            for number in (1, 2, 3):
                _fold(block, (f"conv{number}", f"bn{number}"))
            if block.downsample is not None:
                _fold(block.downsample, ("0", "1"))
    return found


def _fold(parts: Any, names: tuple[str, str]) -> None:
    layer, norm = (getattr(parts, name) for name in names)
    setattr(parts, names[0], fuse_conv_bn_eval(layer, norm))
    setattr(parts, names[1], torch.nn.Identity())


def _files(detector: Any, described: Checkpoint, picture: bytes, folder: Path) -> Iterator[tuple[str, Path]]:
    """Each step towards a faster file: the heads look at fewer regions, and layers compute in 8 bits.

    torchvision keeps all of its 1000 regions; what fewer and 8 bits cost in AP, onnx_variants tells.
    """
    pixels = np.asarray(open_upright(io.BytesIO(picture)))
    for most in (None, *PROPOSALS):
        limited = copy.deepcopy(detector)
        if most is not None:
            family_of(described.training_settings.model_name).limit_proposals(limited, most)
        opened = export(limited, described)
        for precision in ("fp32", "int8"):
            name = precision if most is None else f"{precision}_{most}_regions"
            model = opened if precision == "fp32" else quantised(opened, [pixels])
            onnx.save(finished(model, described, precision), folder / f"{name}.onnx")
            yield name, folder / f"{name}.onnx"


def a_jpeg() -> bytes:
    """A JPEG file of smooth noise, about as large as a photograph of this size."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8)).resize(SIZE)
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=92)
    return stream.getvalue()


def _torchvision(detector: Any, picture: bytes) -> Callable[[], None]:
    def run() -> None:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            found = detector([tensor])[0]
        masks = (found["masks"][:, 0] > 0.5).numpy().astype(np.uint8)
        encoded = [rle.encode(np.asfortranarray(mask)) for mask in masks]
        assert len(encoded) == DETECTIONS

    run()
    return run


def _delivered(file: Path, picture: bytes) -> Callable[[], None]:
    model = OnnxModel(file, threads=1)

    def run() -> None:
        found = model(np.asarray(open_upright(io.BytesIO(picture))))
        assert len(found.masks) == DETECTIONS

    run()
    return run


def _cold_start(file: Path, picture: bytes) -> float:
    """Seconds of `maskline predict` on one picture, less those of the picture itself."""
    path = file.parent / "picture.jpg"
    path.write_bytes(picture)
    command = [sys.executable, "-m", "maskline.pipelines.cli", "predict", str(file), str(path)]
    model = OnnxModel(file)
    pixels = np.asarray(open_upright(path))
    model(pixels)
    whole, alone = [], []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        whole.append(time.perf_counter() - began)
        began = time.perf_counter()
        model(pixels)
        alone.append(time.perf_counter() - began)
    return median(whole) - median(alone)
