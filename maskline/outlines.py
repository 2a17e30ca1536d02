"""Masks as rings, and rings as masks: numpy alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int64]
"""(points, 2), x and y in pixels: corners of pixels, 0 to width and 0 to height."""
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up: each is a right turn from the last
_TOLERANCES = (1.5, 1.0, 0.75)
"""How far in pixels a simpler ring may stray from the exact one; the first that is good enough is taken."""
LEAST_IOU = 0.99
"""Overlap that a simplified outline has with its mask, at the least; else the outline stays exact."""


def mask_to_rings(mask: NDArray[Any]) -> list[Ring]:
    """The outlines of a mask along the edges of its pixels; drawn again they give the very same mask.

    Pixels that touch at a corner only are separate parts. Read with the rule that a ring inside another is
    a hole, the rings are exact whatever the mask's parts and holes.

    Args:
        mask: shape (height, width); what isn't 0 is object.

    Returns:
        Rings of shape (points, 2) with x and y in pixels, 0 to width and 0 to height; the corners only.
        Outlines go clockwise on the screen, holes the other way. An empty mask has no ring.
    """
    following = _edges(np.pad(np.asarray(mask) != 0, 1).astype(np.int8))
    rings = []
    while following:
        start = next(iter(following))
        rings.append(_walk(start, following))
    return rings


def simple_rings(mask: NDArray[Any]) -> list[Ring]:
    """The outlines of a mask with fewer points, as `mask_to_rings` orders and turns them.

    The stairs of a slanted edge become a line (Douglas and Peucker 1973), as long as the rings, drawn again,
    overlap the mask by LEAST_IOU. Where they don't, as with single pixels and lines, they are the exact ones:
    no part and no hole is lost.
    """
    mask = np.asarray(mask) != 0
    exact = mask_to_rings(mask)
    smallest = min(exact, key=len, default=None)
    for tolerance in _TOLERANCES:
        if smallest is not None and len(_simplified(smallest, tolerance)) < 3:
            continue  # one that vanishes is enough, and a ragged mask has many rings
        rings = [_simplified(ring, tolerance) for ring in exact]
        if all(len(ring) >= 3 for ring in rings):
            drawn = rings_to_mask(rings, *mask.shape)
            if (drawn & mask).sum() >= LEAST_IOU * (drawn | mask).sum():
                return rings
    return exact


def rings_to_mask(rings: list[Ring], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width): pixels whose centre lies in an odd number of the rings, so that a ring in another is a
    hole.
    """
    changes = np.zeros((height, width + 1), dtype=np.int64)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
            low, high = sorted((y0, y1))
            if low == high:
                continue
            rows = np.arange(max(low, 0), min(high, height))
            crossed = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(crossed - 0.5), 0, width).astype(np.int64)
            changes[rows, columns] += 1  # an edge crosses the middle of a row once
    inside: NDArray[np.bool_] = np.cumsum(changes[:, :width], axis=1) % 2 == 1
    return inside


def is_hole(ring: Ring) -> bool:
    """Whether a ring of `mask_to_rings` bounds a hole: it goes against the clock on the screen."""
    x, y = ring[:, 0], ring[:, 1]
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0)


def _simplified(ring: Ring, tolerance: float) -> Ring:
    """Douglas and Peucker's algorithm on both halves of a ring, cut at the two points farthest apart."""
    start = int(np.argmin(ring.sum(axis=1)))
    turned = np.roll(ring, -start, axis=0)
    far = int(np.argmax(((turned - turned[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([turned, turned[:1]])
    kept = np.zeros(len(closed), dtype=bool)
    kept[[0, far]] = True
    parts = [(0, far), (far, len(closed) - 1)]
    while parts:
        begin, end = parts.pop()
        if end - begin < 2:
            continue
        away = _distances(closed[begin + 1 : end], closed[begin], closed[end])
        worst = int(np.argmax(away))
        if away[worst] > tolerance:
            middle = begin + 1 + worst
            kept[middle] = True
            parts += [(begin, middle), (middle, end)]
    kept[-1] = False
    simple: Ring = closed[kept]
    return simple


def _distances(points: Ring, one: Ring, other: Ring) -> NDArray[np.float64]:
    """Distance of points from the line through two points, or from the point that both are."""
    line = (other - one).astype(np.float64)
    offset = points - one
    length = float(np.hypot(*line))
    if not length:
        return np.asarray(np.hypot(offset[:, 0], offset[:, 1]))
    return np.asarray(np.abs(offset[:, 0] * line[1] - offset[:, 1] * line[0]) / length)


def _edges(padded: NDArray[np.int8]) -> dict[tuple[int, int], set[int]]:
    """Corners of pixels, and the directions in which an edge leaves them with the object on its right."""
    down = np.diff(padded[:, 1:-1], axis=0)
    across = np.diff(padded[1:-1, :], axis=1)
    following: dict[tuple[int, int], set[int]] = {}
    for direction, (steps, sign, dx, dy) in enumerate(
        ((down, 1, 0, 0), (across, -1, 0, 0), (down, -1, 1, 0), (across, 1, 0, 1))
    ):
        for y, x in np.argwhere(steps == sign).tolist():
            following.setdefault((x + dx, y + dy), set()).add(direction)
    return following


def _walk(start: tuple[int, int], following: dict[tuple[int, int], set[int]]) -> Ring:
    """Follow the edges from `start` back to it, and take them away."""
    x, y = start
    first = direction = min(following[start])
    corners = []
    while True:
        following[x, y].discard(direction)
        if not following[x, y]:
            del following[x, y]
        x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
        leaving = following.get((x, y), set()) | ({first} if (x, y) == start else set())
        # Where two pixels meet at a corner, the right turn stays with the pixel that is being walked round.
        turn = next(t for t in (1, 0, 3) if (direction + t) % 4 in leaving)
        if turn:
            corners.append((x, y))
        direction = (direction + turn) % 4
        if (x, y) == start and direction == first:
            return np.array(corners, dtype=np.int64)
