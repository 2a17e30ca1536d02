"""pycocotools, the reference: what `--engine pycocotools` computes with, and the tests compare with."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from types import FunctionType
from typing import Any

from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .coco_forms import GroundTruth, Predictions, as_rle, box_results, mask_results
from .scoring import CocoArrays, Kind


def coco_arrays(
    ground_truth: GroundTruth | Path,
    predictions: Predictions | Path,
    kind: Kind,
    images: Collection[int] | None = None,
) -> CocoArrays:
    """What pycocotools accumulates. Arguments as of `Scoring`, which is also the one that checks them."""
    truth = _chosen(_read(ground_truth), images)
    results = (mask_results if kind == "segm" else box_results)(_read(predictions))
    evaluator = COCOeval(_index(truth, _objects(truth)), None, kind)
    there = {image["id"] for image in truth["images"]}
    evaluator.cocoDt = _index(truth, _detections([one for one in results if one["image_id"] in there]))
    for step in (COCOeval.evaluate, COCOeval.accumulate):
        _silent(step)(evaluator)
    return CocoArrays(evaluator.eval["precision"], evaluator.eval["recall"])


def _read(data: Any) -> Any:
    return json.loads(data.read_text(encoding="utf-8")) if isinstance(data, Path) else data


def _chosen(ground_truth: GroundTruth, images: Collection[int] | None) -> GroundTruth:
    """The part of a ground truth that counts, so that no other polygon is drawn."""
    if images is None:
        return ground_truth
    wanted = set(images)
    return {
        "images": [image for image in ground_truth["images"] if image["id"] in wanted],
        "annotations": [one for one in ground_truth["annotations"] if one["image_id"] in wanted],
        "categories": ground_truth["categories"],
    }


def _index(ground_truth: GroundTruth, annotations: list[dict[str, Any]]) -> Any:
    indexed = COCO()
    indexed.dataset = {
        "images": list(ground_truth["images"]),
        "categories": list(ground_truth["categories"]),
        "annotations": annotations,
    }
    _silent(COCO.createIndex)(indexed)
    return indexed


def _objects(ground_truth: GroundTruth) -> list[dict[str, Any]]:
    """Copies of the annotations with the keys that pycocotools wants, numbered from 1."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    copies = []
    for number, annotation in enumerate(ground_truth["annotations"], start=1):
        mask = as_rle(annotation["segmentation"], *sizes[annotation["image_id"]])
        crowd = int(bool(annotation.get("iscrowd")))
        copy = {**annotation, "id": number, "iscrowd": crowd, "segmentation": mask}
        if "area" not in copy:
            copy["area"] = float(rle.area(mask))
        if "bbox" not in copy:
            copy["bbox"] = rle.toBbox(mask).tolist()
        copies.append(copy)
    return copies


def _detections(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with the keys that `COCO.loadRes` adds; it isn't used since it prints, and dies of []."""
    for number, found in enumerate(results, start=1):
        if "bbox" in found:
            found["area"] = found["bbox"][2] * found["bbox"][3]
        else:
            mask = found["segmentation"]
            found["segmentation"] = as_rle(mask, *mask["size"])
            found["area"] = rle.area(found["segmentation"])
            found["bbox"] = rle.toBbox(found["segmentation"]).tolist()
        found |= {"id": number, "iscrowd": 0}
    return results


def _silent(function: Any) -> Callable[..., Any]:
    """The same function, whose prints go nowhere.

    Neither `sys.stdout` nor pycocotools is touched, so other threads print as ever.
    """
    names = {**function.__globals__, "print": lambda *_, **__: None}
    return FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
