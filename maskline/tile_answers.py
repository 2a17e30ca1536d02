"""What any detector finds on a picture and its tiles, as one answer; numpy alone."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from .detections import Detections
from .merging import Merger
from .tiling import Tiling

Detector = Callable[[NDArray[np.uint8]], Detections]


def tiled(
    detector: Detector, picture: NDArray[np.uint8], tiling: Tiling, *, most: int | None = None
) -> Detections:
    """What is on a picture, by looking at it as a whole and at each of its tiles.

    Small objects, which are too few pixels for the network once a large picture is resized, are seen on the
    tiles; large ones on the whole. The views are gone through one after another, and only outlines are kept,
    so memory doesn't grow with the number of tiles; time does: a grid of 3x2 runs the detector seven times.
    How detections are made one is told in `maskline.merging`.

        model = OnnxModel("runs/first/model.onnx")
        found = maskline.tiled(model.whole, pixels, maskline.Tiling.parse("3x2", overlap=0.25))

    Args:
        detector: gives what it finds on an RGB picture, uint8 (H, W, 3), in that picture's pixels.
        picture: likewise.
        tiling: the grid, its overlap, and the mask IoU above which detections are one.
        most: detections that the answer may have; None: all.
    """
    height, width = picture.shape[:2]
    merger = Merger(width, height, tiling, most)
    classes: tuple[str, ...] = ()
    for number, (left, top, wide, high) in enumerate(merger.views):
        found = detector(np.ascontiguousarray(picture[top : top + high, left : left + wide]))
        classes = found.classes
        merger.add(number, list(_results(found)))
    merged = merger.merged()
    edges = np.array([one["bbox"] for one in merged], dtype=np.float32).reshape(-1, 4)
    edges[:, 2:] += edges[:, :2]
    return Detections(
        width,
        height,
        edges,
        np.array([one["category_id"] for one in merged], dtype=np.int64),
        np.array([one["score"] for one in merged], dtype=np.float32),
        [one["segmentation"] for one in merged],
        classes,
    )


def _results(found: Detections) -> Iterator[dict[str, object]]:
    """Detections as COCO results."""
    for box, label, score, mask in zip(
        found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), found.masks, strict=True
    ):
        left, top, right, bottom = box
        yield {
            "category_id": label,
            "score": score,
            "bbox": [left, top, right - left, bottom - top],
            "segmentation": mask,
        }
