"""How far a score may be from what other pictures of the same kind would give.

Pictures are drawn again, with replacement, and the mean average precision of each draw is computed from
verdicts that were made once: a picture that is drawn twice counts twice, with all its objects and
predictions. Percentiles of the draws are the interval (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, chapter 13). Two models are compared on the same draws.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .verdicts import HIT, IGNORED, Verdicts

ROUNDS = 1000
LEVEL = 0.95
RECALLS = np.linspace(0.0, 1.0, 101)
"""COCO's points of recall."""
CELLS = 2_000_000
"""How many numbers are held at a time."""

Area = Literal["coco", "voc"]
"""How the area under the precision-recall curve is taken: at 101 points of recall, or at all."""


def resampled(
    verdicts: Sequence[Verdicts],
    images: Sequence[int],
    area: Area = "coco",
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Mean average precision on draws of the pictures, (rounds,); NaN where a draw has no object.

    Args:
        verdicts: at each IoU threshold that the mean is over.
        images: ids of the pictures, ascending.
        area: COCO's or VOC's.
        rounds: how many draws.
        seed: of the draws. Equal seeds and pictures give equal draws, whatever the model.
    """
    weights = _draws(len(images), rounds, seed)
    total, defined = np.zeros(rounds), np.zeros(rounds)
    for one in verdicts:
        for category in np.unique(one.objects.category_id[one.objects.counts]):
            scores = _class_scores(one, int(category), np.asarray(images), weights, area)
            known = ~np.isnan(scores)
            total[known] += scores[known]
            defined += known
    mean: NDArray[np.float64] = np.divide(total, defined, out=np.full(rounds, np.nan), where=defined > 0)
    return mean


def interval(samples: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float] | None:
    """The percentile interval of draws; None if too few of them are defined to speak of one."""
    defined = samples[~np.isnan(samples)]
    if len(defined) < len(samples) / 2:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _draws(pictures: int, rounds: int, seed: int) -> NDArray[np.float32]:
    """(rounds, pictures): how often each picture was drawn."""
    if not pictures:
        return np.zeros((rounds, 0), dtype=np.float32)
    random = np.random.default_rng(seed)
    counts = random.multinomial(pictures, np.full(pictures, 1 / pictures), size=rounds)
    return counts.astype(np.float32)


def _class_scores(
    verdicts: Verdicts, category: int, images: NDArray[np.int64], weights: NDArray[np.float32], area: Area
) -> NDArray[np.float64]:
    """Average precision of one class on each draw; NaN where it has no object."""
    objects = verdicts.objects
    there = objects.image_id[objects.counts & (objects.category_id == category)]
    wanted = weights @ np.bincount(np.searchsorted(images, there), minlength=len(images)).astype(np.float32)
    found = verdicts.of_class(category)
    counted = found.verdict != IGNORED
    # Of equal scores, those of earlier pictures come first, as in COCO.
    order = np.lexsort((found.image_id[counted], -found.score[counted]))
    picture = np.searchsorted(images, found.image_id[counted][order])
    hit = (found.verdict[counted][order] == HIT).astype(np.float64)
    scores = np.full(len(weights), np.nan)
    step = max(1, CELLS // max(1, len(hit)))
    for start in range(0, len(weights), step):
        rows = slice(start, start + step)
        scores[rows] = _average_precisions(weights[rows][:, picture], hit, wanted[rows], area)
    scores[wanted == 0] = np.nan
    return scores


def _average_precisions(
    weights: NDArray[np.float32], hit: NDArray[np.float64], wanted: NDArray[np.float32], area: Area
) -> NDArray[np.float64]:
    """(rows,) areas; weights (rows, predictions by falling score), wanted (rows,) objects to be found."""
    if not len(hit):
        return np.zeros(len(weights))
    hits = weights * hit
    found, seen = np.cumsum(hits, axis=1), np.cumsum(weights, axis=1, dtype=np.float64)
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    objects = np.maximum(wanted, 1)
    if area == "voc":
        voc: NDArray[np.float64] = (falling * hits).sum(axis=1) / objects
        return voc
    padded = np.pad(falling, ((0, 0), (0, 1)))
    recall = found / objects[:, None]
    return np.array(
        [row[np.searchsorted(reached, RECALLS)].mean() for row, reached in zip(padded, recall, strict=True)]
    )
