"""Which pictures the report shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maskline.verdicts import FALSE, HIT, Verdicts

SHOWN = 12


@dataclass(frozen=True)
class PictureScore:
    """How well a model does on one picture.

    Attributes:
        image_id: of the picture.
        hits: objects that were found.
        false: detections that are none, or of an object that was found already.
        missed: objects that weren't found.
    """

    image_id: int
    hits: int
    false: int
    missed: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2·hits / (2·hits + false + missed); 1 if all is empty."""
        counted = 2 * self.hits + self.false + self.missed
        return 2 * self.hits / counted if counted else 1.0


def picture_scores(verdicts: Verdicts, images: Sequence[int]) -> list[PictureScore]:
    """The score of each of these pictures (ids ascending)."""
    objects = verdicts.objects
    columns = (
        verdicts.image_id[verdicts.verdict == HIT],
        verdicts.image_id[verdicts.verdict == FALSE],
        objects.image_id[objects.counts],
    )
    hits, false, there = (
        np.bincount(np.searchsorted(images, column), minlength=len(images)).tolist() for column in columns
    )
    return [
        PictureScore(image_id=image, hits=hit, false=wrong, missed=count - hit)
        for image, hit, wrong, count in zip(images, hits, false, there, strict=True)
    ]


def choose(scores: Sequence[PictureScore], count: int = SHOWN) -> list[PictureScore]:
    """The worst, the best and the middle of the rest, a third each, from worst to best.

    Of equal F1, pictures with more in them show more and come first. Empty pictures on which nothing was
    detected come last, and are shown only if there are too few others.
    """
    busy = [s for s in scores if s.hits + s.false + s.missed]
    empty = [s for s in scores if not s.hits + s.false + s.missed]
    order = sorted(busy, key=lambda s: (s.f1, -(s.hits + s.false + s.missed), s.image_id))
    if len(order) <= count:
        return order + empty[: count - len(order)]
    third = count // 3
    worst, others = order[:third], order[third:]
    best = sorted(others, key=lambda s: (-s.f1, -s.hits, s.image_id))[:third]
    rest = [score for score in others if score not in best]
    wanted = count - 2 * third
    start = (len(rest) - wanted) // 2
    return worst + rest[start : start + wanted] + best[::-1]
