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
    # A ragged mask has many rings, and one that vanishes at any tolerance is enough.
    if not exact or (_significance([min(exact, key=len)])[2] > _TOLERANCES[-1]).sum() < 3:
        return exact
    points, sizes, matter = _significance(exact)
    for tolerance in _TOLERANCES:
        kept = matter > tolerance
        left = np.add.reduceat(kept, np.cumsum(sizes) - sizes, dtype=np.int64)
        if left.min() < 3:
            continue
        rings = np.split(points[kept], np.cumsum(left)[:-1])
        drawn = rings_to_mask(rings, *mask.shape)
        if (drawn & mask).sum() >= LEAST_IOU * (drawn | mask).sum():
            return rings
    return exact


def rings_to_mask(rings: list[Ring], height: int, width: int) -> NDArray[np.bool_]:
    """(height, width): pixels whose centre lies in an odd number of the rings, so that a ring in another is a
    hole.
    """
    if not rings:
        return np.zeros((height, width), dtype=bool)
    x0, y0 = np.concatenate(rings).T
    x1, y1 = np.concatenate([part for ring in rings for part in (ring[1:], ring[:1])]).T
    low, high = np.clip([np.minimum(y0, y1), np.maximum(y0, y1)], 0, height)
    edge, row = _steps_of(high - low)
    rows = low[edge] + row
    crossed = x0[edge] + (rows + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    columns = np.clip(np.ceil(crossed - 0.5), 0, width).astype(np.int64)
    # An edge crosses the middle of a row once; beyond an odd number of crossings lies object.
    place, times = np.unique(rows * (width + 1) + columns, return_counts=True)
    changes = np.zeros((height, width + 1), dtype=bool)
    changes.flat[place[times % 2 == 1]] = True
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(changes[:, :width], axis=1)
    return inside


def is_hole(ring: Ring) -> bool:
    """Whether a ring of `mask_to_rings` bounds a hole: it goes against the clock on the screen."""
    x, y = ring.T
    return bool(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1] < 0)


def _significance(rings: list[Ring]) -> tuple[Ring, NDArray[np.int64], NDArray[np.float64]]:
    """What Douglas and Peucker's algorithm finds on both halves of each ring, cut at two points far apart.

    All parts of all rings are split in the same step, for a mask may have thousands of small ones.

    Args:
        rings: one or more, of 3 points or more each.

    Returns:
        The points of all rings, each from its uppermost left one on, and once more that one; how many each
        ring has; up to which tolerance in pixels a point is kept, 0 for what the least of _TOLERANCES leaves
        out and for the last point of a ring, infinite where it is cut.
    """
    points = np.concatenate(rings)
    sizes = np.array([len(ring) for ring in rings])
    first = np.cumsum(sizes) - sizes
    top = _first_of_largest(-points.sum(axis=1), first) - first
    ring, place = _steps_of(sizes + 1)
    closed = points[first[ring] + (top[ring] + place) % sizes[ring]]
    begins = np.cumsum(sizes + 1) - sizes - 1
    far = _first_of_largest(((closed - closed[begins[ring]]) ** 2).sum(axis=1), begins)
    matter = np.zeros(len(closed))
    matter[begins] = matter[far] = np.inf
    begin, end = np.concatenate([begins, far]), np.concatenate([far, begins + sizes])
    limit = matter[begin]  # a point is reached only when those that its part lies between were kept
    while len(begin := begin[wide := end - begin > 1]):
        end, limit = end[wide], limit[wide]
        part, place = _steps_of(end - begin - 1)
        inner = begin[part] + 1 + place
        away = _distances(closed[inner], closed[begin], closed[end], part)
        worst = _first_of_largest(away, np.flatnonzero(place == 0))
        split = away[worst] > _TOLERANCES[-1]
        middle, reached = inner[worst[split]], np.minimum(limit, away[worst])[split]
        matter[middle] = reached
        begin, end = np.concatenate([begin[split], middle]), np.concatenate([middle, end[split]])
        limit = np.concatenate([reached, reached])
    return closed, sizes + 1, matter


def _distances(points: Ring, ones: Ring, others: Ring, part: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of each point from the line of its part through two points, or from the one that both are."""
    lines = (others - ones).astype(np.float64)
    lengths = np.hypot(*lines.T)[part]
    x, y = (points - ones[part]).T
    across, down = lines[part].T
    with np.errstate(invalid="ignore"):
        away: NDArray[np.float64] = np.abs(x * down - y * across) / lengths
    straight: NDArray[np.bool_] = lengths > 0
    return np.where(straight, away, np.hypot(x, y))


def _steps_of(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For all places in parts of these sizes, one after another: which part, and the place in it from 0."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    return which, np.arange(len(which)) - (np.cumsum(sizes) - sizes)[which]


def _first_of_largest(values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the largest of each part stands, the first of equals; a part goes on to where the next starts."""
    sizes = np.diff(np.append(starts, len(values)))
    hits = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), sizes))
    return hits[np.searchsorted(hits, starts)]


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
