"""Predictions held against a ground truth by hotcoco, COCO's evaluation in Rust.

hotcoco gives pycocotools' numbers to the last digit (tests/unit/test_scoring.py compares them on data of
every kind) in a fraction of its time and memory. Files go in without passing through Python, and classes
are taken a few at a time, so that memory is that of the masks, not of a table of classes by pictures.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hotcoco import COCO, COCOeval
from hotcoco import mask as rle
from numpy.typing import NDArray

from .coco_columns import RECORDS_AT_ONCE, check, objects_of, refusal, result_columns, uncollected
from .coco_forms import GroundTruth, Predictions, as_rle, is_compressed
from .errors import DataError
from .verdicts import FALSE, HIT, IGNORED, Verdicts

Kind = Literal["segm", "bbox"]

IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""COCO's IoU thresholds."""
CLASSES_AT_ONCE = 20


@dataclass(frozen=True)
class CocoArrays:
    """What COCO's evaluation accumulates; -1 where undefined.

    Attributes:
        precision: (10 IoUs, 101 recalls, classes, 4 sizes, 3 limits of detections).
        recall: (10 IoUs, classes, 4 sizes, 3 limits of detections).
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


class Scoring:
    """One set of predictions and the ground truth that it is held against.

    Args:
        ground_truth: COCO dictionary, or a file of COCO's instances JSON.
        predictions: COCO results (image_id, category_id, score, `segmentation` as RLE at the size of the
            picture, `bbox`), or a file of them. As in `COCO.loadRes`, a file has boxes in all its records
            or in none.
        images: ids of the pictures that count; objects and predictions on others are left out, as with
            `COCOeval.params.imgIds`. None counts all.

    Attributes:
        names: of the categories by id; classes: their ids. Both ascending.
        images: ids of the pictures that count, ascending.
        objects: those of the pictures that count.
        image_id, category_id, score, area: (n,) of the predictions, in the order given; the mask's area.
        box: (n, 4) x, y, width, height of the predicted masks.

    Raises:
        DataError: predictions for pictures or classes that the ground truth doesn't have, scores that
            aren't numbers, masks of another size than the picture; files that are no such JSON.
    """

    def __init__(
        self,
        ground_truth: GroundTruth | Path,
        predictions: Predictions | Path,
        images: Collection[int] | None = None,
    ) -> None:
        self._truth = _load(lambda given: COCO(_numbered(given)), ground_truth)
        sizes = {image["id"]: [image["height"], image["width"]] for image in self._truth.imgs.values()}
        self.names = {number: category["name"] for number, category in sorted(self._truth.cats.items())}
        self.classes = list(self.names)
        self.images = _chosen(sizes, images)
        with uncollected():
            self.objects = objects_of(self._truth, self.images)
        if not isinstance(predictions, Path):
            check(predictions, sizes, self.classes)  # before hotcoco, which would guess
        self._found = _load(lambda given: self._truth.load_res(_plain(given)), predictions)
        with uncollected():
            table = result_columns(self._found, predictions, sizes, self.classes)
        self.image_id, self.category_id = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
        self.score, self._masked = table[:, 2], table[:, 3] > 0
        self.area, self._box_area, self.box = table[:, 4], table[:, 5], table[:, 6:]
        self._boxed = not np.array_equal(self.area, self._box_area)
        self._verdicts: dict[tuple[Kind, float], Verdicts] = {}

    def coco(self, kind: Kind, *, iou_threshold: float | None = None) -> CocoArrays:
        """COCO's evaluation of masks or boxes.

        Args:
            kind: what is judged.
            iou_threshold: keep `verdicts` at this threshold in passing, which is cheaper than later.

        Raises:
            DataError: a prediction has no mask, or no box, where that is judged.
        """
        ious = [*IOUS] if iou_threshold is None or iou_threshold in IOUS else [*IOUS, iou_threshold]
        precision = np.empty((len(IOUS), 101, len(self.classes), 4, 3))
        recall = np.empty((len(IOUS), len(self.classes), 4, 3))
        judged = None if iou_threshold is None else self._unjudged()
        for part, evaluator in self._evaluators(kind, ious):
            evaluator.accumulate()
            accumulated: Any = evaluator.eval
            precision[:, :, part] = accumulated["precision"][: len(IOUS)]
            recall[:, part] = accumulated["recall"][: len(IOUS)]
            if judged is not None and iou_threshold is not None:
                _judge(judged, evaluator, iou_threshold)
                self._verdicts[kind, iou_threshold] = judged
        return CocoArrays(precision, recall)

    def verdicts(self, iou_threshold: float, kind: Kind = "segm") -> Verdicts:
        """What each prediction is at one IoU threshold, as COCO matches: objects of all sizes, at most 100
        predictions of a class in a picture; what is beyond them, or on crowd regions, is ignored.
        """
        key = (kind, iou_threshold)
        if key not in self._verdicts:
            judged = self._unjudged()
            for _, evaluator in self._evaluators(kind, [iou_threshold], sizes=False):
                _judge(judged, evaluator, iou_threshold)
            self._verdicts[key] = judged
        return self._verdicts[key]

    def errors(self) -> dict[str, Any]:
        """TIDE's kinds of error on masks at IoU 0.5 (0.1 for background), as hotcoco counts them.

        Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020,
        https://arxiv.org/abs/2008.08115.

        Returns:
            counts and delta_ap by Cls, Loc, Both, Dupe, Bkg and Miss, and ap_base, the AP at IoU 0.5.
            delta_ap is how much that AP would gain if this kind of error alone were mended.
        """
        evaluator = self._evaluator("segm", self.classes, [0.5], sizes=False)
        found: dict[str, Any] = evaluator.tide_errors(pos_thr=0.5, bg_thr=0.1)
        return found

    def picture(self, image_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """A picture's objects, and the predictions for it as given; ids of the latter count from 1."""
        objects = self._truth.load_anns(self._truth.get_ann_ids(img_ids=[image_id]))
        return objects, self._found.load_anns(self._found.get_ann_ids(img_ids=[image_id]))

    def masks(self, objects: Sequence[int], predictions: Sequence[int]) -> tuple[list[Any], list[Any]]:
        """Masks as compressed RLE: of objects by their ids, of predictions by their places (from 0)."""
        truths = [annotation["segmentation"] for annotation in self._truth.load_anns(objects)]
        results = self._found.load_anns([place + 1 for place in predictions])
        if not all(map(is_compressed, truths)):
            truths = [self._truth.ann_to_rle(annotation) for annotation in self._truth.load_anns(objects)]
        return truths, [result["segmentation"] for result in results]

    def mask_areas(self, objects: Sequence[int]) -> NDArray[np.float64]:
        """Pixels of objects' masks, whatever area was annotated; (n,) by their ids."""
        areas = [
            rle.area(self.masks(objects[start : start + RECORDS_AT_ONCE], [])[0])
            for start in range(0, len(objects), RECORDS_AT_ONCE)
        ]
        return np.concatenate([np.zeros(0), *areas])

    def need(self, kind: Kind) -> None:
        """Refuse to judge masks where a prediction has none."""
        if kind == "segm" and not self._masked.all():
            places = np.flatnonzero(~self._masked).tolist()
            problems = [f"prediction {place}: segmentation is missing, or no RLE" for place in places]
            raise refusal(problems, len(self.score))

    def _unjudged(self) -> Verdicts:
        verdict = np.full(len(self.score), IGNORED, dtype=np.int8)
        found = np.zeros(len(self.score), dtype=np.int64)
        return Verdicts(self.image_id, self.category_id, self.score, verdict, found, self.objects)

    def _evaluators(
        self, kind: Kind, ious: list[float], *, sizes: bool = True
    ) -> Iterator[tuple[slice, COCOeval]]:
        """Some classes at a time: their places, and what was evaluated of them."""
        for start in range(0, len(self.classes), CLASSES_AT_ONCE):
            part = slice(start, start + CLASSES_AT_ONCE)
            yield part, self._evaluator(kind, self.classes[part], ious, sizes=sizes)

    def _evaluator(self, kind: Kind, classes: list[int], ious: list[float], *, sizes: bool) -> COCOeval:
        self._prepare(kind)
        evaluator = COCOeval(self._truth, self._found, kind)
        evaluator.params.cat_ids = classes
        evaluator.params.img_ids = self.images
        evaluator.params.iou_thrs = ious
        if not sizes:
            evaluator.params.area_rng = [[0.0, 1e10]]
            evaluator.params.area_rng_lbl = ["all"]
        evaluator.evaluate()
        return evaluator

    def _prepare(self, kind: Kind) -> None:
        """Give predictions the area of what is judged: `load_res` takes a box's where there is one."""
        self.need(kind)
        if self._boxed:
            ids = np.arange(1, len(self.score) + 1)
            self._found.update_anns(ids=ids, area=self.area if kind == "segm" else self._box_area)


def _judge(judged: Verdicts, evaluator: COCOeval, iou_threshold: float) -> None:
    """Write down what became of the predictions that were evaluated."""
    with uncollected():
        told: Any = evaluator.image_diagnostics(iou_thr=iou_threshold, score_thr=inf)
        status, match = told["dt_status"], told["dt_match"]
    judged.verdict[np.fromiter(status, dtype=np.int64, count=len(status)) - 1] = FALSE
    hits = np.fromiter(match, dtype=np.int64, count=len(match)) - 1
    judged.verdict[hits] = HIT
    judged.found[hits] = np.fromiter(match.values(), dtype=np.int64, count=len(match))


def _load(load: Callable[[Any], COCO], given: Any) -> COCO:
    name = given if isinstance(given, Path) else "the data"
    try:
        loaded = load(given)
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        raise DataError(f"{name} can't be read as COCO JSON: {error}") from error
    duplicates = [text for text in loaded.load_warnings if "duplicate" in text]
    if duplicates:
        raise DataError(f"{name}: {duplicates[0]}")
    return loaded


def _chosen(sizes: Mapping[int, Any], images: Collection[int] | None) -> list[int]:
    if images is None:
        return sorted(sizes)
    if not images:
        raise DataError("no picture is to count: the list of images is empty; name some, or none for all")
    if strange := sorted(set(images) - set(sizes)):
        raise DataError(f"image_id={strange[0]} is not in the ground truth; choose among its pictures")
    return sorted(set(images))


def _numbered(ground_truth: GroundTruth | Path) -> Any:
    """A ground truth as hotcoco takes it; annotations are numbered from 1, with area and box."""
    if isinstance(ground_truth, Path):
        return str(ground_truth)
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    annotations = []
    for number, annotation in enumerate(ground_truth["annotations"], start=1):
        copy = {**annotation, "id": number, "iscrowd": int(bool(annotation.get("iscrowd")))}
        if "area" not in copy or "bbox" not in copy:
            mask = as_rle(annotation["segmentation"], *sizes[annotation["image_id"]])
            copy.setdefault("area", float(rle.area(mask)))
            copy.setdefault("bbox", rle.to_bbox(mask).tolist())
        annotations.append(copy)
    return {
        "images": list(ground_truth["images"]),
        "categories": list(ground_truth["categories"]),
        "annotations": annotations,
    }


def _plain(predictions: Predictions | Path) -> Any:
    """Predictions as hotcoco takes them: with boxes in all, or in none."""
    if isinstance(predictions, Path):
        with predictions.open("rb") as stream:
            if not stream.read(64).lstrip().startswith(b"["):
                raise DataError(f"{predictions} is no list of COCO results; give one, [] if there is none")
        return str(predictions)
    keys = ("image_id", "category_id", "score", "bbox", "segmentation")
    plain = [{key: found[key] for key in keys if found.get(key) is not None} for found in predictions]
    if any("bbox" in found for found in plain):
        for found in plain:
            if "bbox" not in found:
                found["bbox"] = rle.to_bbox(found["segmentation"]).tolist()
    return plain
