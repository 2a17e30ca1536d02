"""What each prediction is, hit, false or not counted, as columns; and the scores that follow from that."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HIT, FALSE, IGNORED = 1, 0, -1
"""Verdicts: found an object; found none, or one that was found already; doesn't count either way."""


@dataclass(frozen=True)
class Objects:
    """The objects of a ground truth, a column an attribute; all (n,).

    Attributes:
        id: of the annotation.
        image_id, category_id: where it is, and what.
        area: in pixels, as annotated.
        counts: whether it is to be found: not for crowd regions, nor for VOC's `difficult` objects in VOC.
        crowd: whether it is a crowd region; difficult: whether VOC's data marks it so.
        box: (n, 4) x, y, width, height.
    """

    id: NDArray[np.int64]
    image_id: NDArray[np.int64]
    category_id: NDArray[np.int64]
    area: NDArray[np.float64]
    counts: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    box: NDArray[np.float64]


@dataclass(frozen=True)
class Verdicts:
    """Predictions at one IoU threshold, a column an attribute; all (n,), in the order given.

    Attributes:
        image_id, category_id, score: of the prediction.
        verdict: HIT, FALSE or IGNORED.
        found: id of the object that a hit found, 0 for all others.
        objects: all objects.
    """

    image_id: NDArray[np.int64]
    category_id: NDArray[np.int64]
    score: NDArray[np.float64]
    verdict: NDArray[np.int8]
    found: NDArray[np.int64]
    objects: Objects

    def above(self, threshold: float) -> "Verdicts":
        """Only predictions of at least this score. Stronger ones are matched first, so verdicts stay."""
        return self._only(self.score >= threshold)

    def of_class(self, category_id: int) -> "Verdicts":
        """Only predictions of this class; the objects stay."""
        return self._only(self.category_id == category_id)

    def by_class(self, classes: Iterable[int]) -> Iterator[tuple[int, "Verdicts"]]:
        """What `of_class` says of each of these classes, read once."""
        order = np.argsort(self.category_id, kind="stable")
        grouped = self._only(order)
        for number in classes:
            start, end = np.searchsorted(grouped.category_id, [number, number + 1])
            yield number, grouped._only(slice(start, end))

    def objects_of(self, category_id: int | None = None) -> int:
        """How many objects are to be found, of one class or of all."""
        objects = self.objects
        wanted = (
            objects.counts if category_id is None else objects.counts & (objects.category_id == category_id)
        )
        return int(wanted.sum())

    def _only(self, chosen: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "Verdicts":
        return Verdicts(
            self.image_id[chosen],
            self.category_id[chosen],
            self.score[chosen],
            self.verdict[chosen],
            self.found[chosen],
            self.objects,
        )


@dataclass(frozen=True)
class Curve:
    """Precision and recall when predictions from a score on are taken; all (m,), by falling score.

    Equal scores are one point, since no threshold parts them.
    """

    score: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def best(self) -> tuple[float, float] | None:
        """The score threshold with the best F1 (the highest of equals), and that F1; None without a hit."""
        total = self.precision + self.recall
        f1 = np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)
        if not len(f1) or f1.max() == 0:
            return None
        place = int(f1.argmax())
        return float(self.score[place]), float(f1[place])


def curve(verdicts: Verdicts, objects: int) -> Curve:
    """The precision-recall curve of predictions, over `objects` that are to be found (at least 1)."""
    counted = verdicts.verdict != IGNORED
    score, hit = verdicts.score[counted], verdicts.verdict[counted] == HIT
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(hit[order])
    last = (
        np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1) if len(order) else np.zeros(0, int)
    )
    return Curve(score[order][last], hits[last] / (last + 1), hits[last] / objects)


@dataclass(frozen=True)
class Calibration:
    """Whether scores are probabilities; (m,) columns over equal bins of the score that aren't empty.

    Attributes:
        score: mean score in the bin.
        precision: share of hits in the bin.
        count: predictions in the bin.
        error: expected calibration error: mean |score - precision|, each bin by its count (Naeini et al.,
            Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015).
    """

    score: NDArray[np.float64]
    precision: NDArray[np.float64]
    count: NDArray[np.int64]
    error: float


def calibration(verdicts: Verdicts, bins: int = 10) -> Calibration:
    """Scores against the share of hits; ignored predictions don't count. The error is NaN without any."""
    counted = verdicts.verdict != IGNORED
    score, hit = verdicts.score[counted], verdicts.verdict[counted] == HIT
    place = np.minimum((score * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    scores = np.bincount(place, score, minlength=bins)[filled] / count[filled]
    hits = np.bincount(place, hit, minlength=bins)[filled] / count[filled]
    gaps = np.abs(scores - hits) * count[filled]
    error = float(gaps.sum() / count.sum()) if len(score) else float("nan")
    return Calibration(scores, hits, count[filled], error)
