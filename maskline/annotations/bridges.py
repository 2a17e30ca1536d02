"""Masks as rings of points, for formats that know nothing else. Drawn again, they are the very same masks."""

from collections.abc import Sequence

import numpy as np

from maskline.outlines import Ring, mask_to_rings

from .masks import Mask, decode


def outlines(mask: Mask) -> list[Ring]:
    """The rings of a mask, see `mask_to_rings`: points of shape (n, 2), x and y in pixels of the picture."""
    left, top, width, height = (int(v) for v in mask.bbox)
    cut = decode(mask)[top : top + height, left : left + width]
    return [ring + np.array([left, top]) for ring in mask_to_rings(cut)]


def bridged(rings: Sequence[Ring]) -> Ring:
    """All rings as one, joined by bridges of no width that are walked there and back.

    Filled by the even-odd rule, a bridge encloses nothing, so that parts and holes stay what they are. Each
    ring is joined where the path so far comes nearest to its first point.
    """
    path = np.concatenate([rings[0], rings[0][:1]])
    for ring in rings[1:]:
        near = int(np.abs(path - ring[0]).sum(axis=1).argmin())
        path = np.concatenate([path[: near + 1], ring, ring[:1], path[near:]])
    return path
