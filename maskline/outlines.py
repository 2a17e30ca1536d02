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
    padded = np.pad(np.asarray(mask) != 0, 1).astype(np.int8)
    edges, following, turns = _edges(padded)
    corner = (edges >> 2)[following]  # where each edge ends is where its follower begins
    y, x = np.divmod(corner, padded.shape[1] - 1)
    ends = np.stack([x, y], axis=1)
    rings, next_, turned = [], following.tolist(), turns.tolist()
    free = bytearray(b"\1") * len(next_)
    for start in _starts(edges).tolist():
        if not free[start]:
            continue
        edge, found = start, []
        while free[edge]:
            free[edge] = 0
            if turned[edge]:
                found.append(edge)
            edge = next_[edge]
        rings.append(ends[found])
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
        rings = _all_simplified(exact, tolerance)
        if rings is not None:
            drawn = rings_to_mask(rings, *mask.shape)
            if (drawn & mask).sum() >= LEAST_IOU * (drawn | mask).sum():
                return rings
    return exact


def rings_to_mask(rings: list[Ring], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width): pixels whose centre lies in an odd number of the rings, so that a ring in another is a
    hole.
    """
    changes = np.zeros((height, width + 1), dtype=bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
            low, high = sorted((y0, y1))
            if low == high:
                continue
            rows = np.arange(max(low, 0), min(high, height))
            crossed = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(crossed - 0.5), 0, width).astype(np.int64)
            changes[rows, columns] ^= True  # an edge crosses the middle of a row once
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(changes[:, :width], axis=1)
    return inside


def is_hole(ring: Ring) -> bool:
    """Whether a ring of `mask_to_rings` bounds a hole: it goes against the clock on the screen."""
    x, y = ring[:, 0], ring[:, 1]
    return bool(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) < 0)


def _all_simplified(rings: list[Ring], tolerance: float) -> list[Ring] | None:
    """The rings with fewer points; None if one vanishes, which a short one does first."""
    found: dict[int, Ring] = {}
    for place in sorted(range(len(rings)), key=lambda place: len(rings[place])):
        found[place] = _simplified(rings[place], tolerance)
        if len(found[place]) < 3:
            return None
    return [found[place] for place in range(len(rings))]


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


def _edges(padded: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The edges between object and ground, each with the object on its right.

    Returns:
        Three arrays over the edges: 4 * corner + direction, ascending, where the corners of pixels are
        counted along the rows; the place of the edge that follows; whether it goes another way.
    """
    down = np.diff(padded[:, 1:-1], axis=0)
    across = np.diff(padded[1:-1, :], axis=1)
    wide = padded.shape[1] - 1
    found = []
    for direction, (steps, sign, dx, dy) in enumerate(
        ((down, 1, 0, 0), (across, -1, 0, 0), (down, -1, 1, 0), (across, 1, 0, 1))
    ):
        rows, columns = np.divmod(np.flatnonzero(steps == sign), steps.shape[1])
        found.append(4 * ((rows + dy) * wide + columns + dx) + direction)
    edges = np.sort(np.concatenate(found))
    ways = edges & 3
    step = np.array([dx + dy * wide for dx, dy in _STEPS])
    corner = 4 * ((edges >> 2) + step[ways])
    # Where two pixels meet at a corner, the right turn stays with the pixel that is being walked round.
    right, on, left = (_places(edges, corner + (ways + turn) % 4) for turn in (1, 0, 3))
    following = np.where(right >= 0, right, np.where(on >= 0, on, left))
    return edges, following, ways[following] != ways


def _places(edges: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the wanted edges stand among all, ascending; -1 for those that don't."""
    at = np.searchsorted(edges, wanted)
    return np.where(np.append(edges, -1)[at] == wanted, at, -1)


def _starts(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the edges that leave a corner from which one goes to the right: every ring has such a one."""
    corners = edges >> 2
    return np.flatnonzero(np.isin(corners, corners[(edges & 3) == 0]))
