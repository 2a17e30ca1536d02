"""Detections on windows of a picture -> detections on the picture, each object once.

A detection is a piece where it reaches a border at which its tile cuts the picture; else it is intact. It is
large where it is longer than a share LARGE of a tile's side: tiles needn't show such an object whole, and the
picture as a whole shows it well.

1. A detection on a tile is dropped where a share of more than CONTAINED of it lies in a large detection of
   its class on the picture as a whole, unless that is far less sure (FRAGMENT). A piece is dropped too where
   it lies in an intact detection of any other window, unless that is less sure (WITNESS). So few fragments
   of large objects remain, and neighbours that touch where tiles end are not joined if another window tells
   them apart.
2. Detections of two tiles are joined as parts of one object where they have one class, at least one of them
   is a piece, and their masks agree where both tiles look: IoU there of at least AGREEMENT. Where tiles don't
   overlap, the pixels on either side of the border are compared. Best agreement first; an object has at most
   one part a tile. The joined mask is the parts' union, its score the highest of theirs.
3. What is left is gone through by falling score, as in Azure ML's tiling: a detection is dropped if a kept
   one of its class, found in other windows only, has a mask IoU above the threshold with it. Detections that
   one window tells apart stay apart.
4. What is still cut off by a tile comes last, and is dropped too where a share of more than CONTAINED of it
   lies in a kept detection, however unsure that is.

Masks are runs (`column_runs`), so that memory grows with outlines, not with tiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from .column_runs import Box, Spans, area, box_of, common, cut, iou, lift, spans_of, to_rle, union
from .tiling import Tiling, Window

AGREEMENT = 0.5
"""Mask IoU, in the zone that two tiles share, from which detections there are of one object."""
CONTAINED = 0.5
"""Share of a piece that has to lie in another detection for it to be part of that."""
FRAGMENT, WITNESS = 0.1, 0.5
"""Scores of a large and of an intact detection, as shares of the score of what lies in it, from which on it
stands for that too. A network is sure of the fragments that it takes for objects where it sees no edge."""
LARGE = 0.25
"""Share of a tile's side. It is the default overlap: what isn't larger is whole on one of the tiles then."""
REACH = 0.01
"""Share of a tile's side, one pixel at least, by which a mask may miss a border that it is cut off by:
networks' masks are coarse."""

Edges = tuple[float, float, float, float]


@dataclass
class _Found:
    """A detection in pixels of the picture; `extent` is the mask's box, `views` says which windows it
    comes from, `cut` that a tile cuts it off.
    """

    label: int
    score: float
    box: Edges
    spans: Spans
    extent: Box
    views: frozenset[int]
    cut: bool = False
    area: int = field(init=False)

    def __post_init__(self) -> None:
        self.area = area(self.spans)


class Merger:
    """Gathers what is found on the windows of one picture.

    Args:
        width, height: of the picture in pixels.
        tiling: its threshold, and the windows: `tiling.views(width, height)`.
        most: detections that a picture may have; the best are kept. None: all.
    """

    def __init__(self, width: int, height: int, tiling: Tiling, most: int | None = None) -> None:
        self.views = tiling.views(width, height)
        self._width, self._height = width, height
        self._threshold, self._most = tiling.threshold, most
        self._found: list[_Found] = []

    def add(self, view: int, results: Sequence[dict[str, Any]]) -> None:
        """Take what was found on a window.

        Args:
            view: index of the window in `views`.
            results: COCO results: category_id, score, bbox and segmentation (compressed RLE), in pixels of
                the window. Empty masks are left out: there is nothing in them to compare.
        """
        window = self.views[view]
        for result in results:
            spans = lift(spans_of(result["segmentation"]), window, self._height)
            if not len(spans):
                continue
            x, y, wide, high = result["bbox"]
            left, top = x + window.left, y + window.top
            box = (left, top, left + wide, top + high)
            found = _Found(
                result["category_id"],
                result["score"],
                box,
                spans,
                box_of(spans, self._height),
                frozenset([view]),
            )
            found.cut = bool(self._sides_reached(found, view))
            self._found.append(found)

    def merged(self) -> list[dict[str, Any]]:
        """Each object once, by falling score: category_id, score, bbox and segmentation on the picture."""
        kept = self._distinct(self._joined(self._unexplained()))
        kept.sort(key=lambda found: -found.score)
        return [
            {
                "category_id": found.label,
                "score": found.score,
                "bbox": _as_coco(found.box),
                "segmentation": to_rle(found.spans, self._height, self._width),
            }
            for found in kept[: self._most]
        ]

    def _unexplained(self) -> list[_Found]:
        """All detections but those on tiles that another window shows better."""
        intact = [found for found in self._found if not found.cut]
        large = [found for found in intact if 0 in found.views and self._is_large(found)]
        return [
            found
            for found in self._found
            if 0 in found.views
            or not (_explained(found, large, FRAGMENT) or (found.cut and _explained(found, intact, WITNESS)))
        ]

    def _is_large(self, found: _Found) -> bool:
        left, top, right, bottom = found.extent
        tile = self.views[-1]
        return right - left > LARGE * tile.width or bottom - top > LARGE * tile.height

    def _joined(self, found: list[_Found]) -> list[_Found]:
        """Detections of single windows, with parts on several tiles as one."""
        group = list(range(len(found)))
        members = {number: {number} for number in group}
        views = {number: one.views for number, one in enumerate(found)}
        for _, one, other in sorted(self._agreements(found), key=lambda pair: (-pair[0], pair[1:])):
            a, b = group[one], group[other]
            if a == b or views[a] & views[b]:
                continue
            members[a] |= members.pop(b)
            views[a] |= views[b]
            for number in members[a]:
                group[number] = a
        return [self._as_one([found[n] for n in sorted(numbers)]) for numbers in members.values()]

    def _agreements(self, found: list[_Found]) -> list[tuple[float, int, int]]:
        """Pairs of detections that are parts of one object, with how well they agree."""
        of: dict[tuple[int, int], list[int]] = {}
        for number, one in enumerate(found):
            (view,) = one.views
            if view:  # 0 is the whole picture, which cuts nothing
                of.setdefault((one.label, view), []).append(number)
        pairs = []
        for first, second in combinations(sorted(of), 2):
            if first[0] != second[0]:
                continue
            zone = _zone(self.views[first[1]], self.views[second[1]])
            if zone is not None:
                pairs += [
                    (agreement, one, other)
                    for one in of[first]
                    for other in of[second]
                    if (agreement := self._agreement(found[one], found[other], zone)) >= AGREEMENT
                ]
        return pairs

    def _agreement(self, one: _Found, other: _Found, zone: tuple[Window, Window]) -> float:
        """IoU of two detections where both of their tiles look; 0 where neither is cut off."""
        here, there = zone
        if not (one.cut or other.cut) or not (_meet(one.extent, here) and _meet(other.extent, there)):
            return 0.0
        seen, opposite = cut(one.spans, here, self._height), cut(other.spans, there, self._height)
        right, down = there.left - here.left, there.top - here.top
        return iou(seen + (right * self._height + down), opposite)

    def _sides_reached(self, found: _Found, view: int) -> list[int]:
        """Which borders of a tile a mask reaches, but the picture's own: 0 left, 1 top, 2 right, 3 bottom."""
        window = self.views[view]
        right, bottom = window.left + window.width, window.top + window.height
        across, down = max(1, REACH * window.width), max(1, REACH * window.height)
        left, top, end, under = found.extent
        reached = (
            window.left > 0 and left - window.left < across,
            window.top > 0 and top - window.top < down,
            right < self._width and right - end < across,
            bottom < self._height and bottom - under < down,
        )
        return [side for side, hit in enumerate(reached) if hit]

    def _as_one(self, parts: list[_Found]) -> _Found:
        views = frozenset().union(*(part.views for part in parts))
        box = (
            min(part.box[0] for part in parts),
            min(part.box[1] for part in parts),
            max(part.box[2] for part in parts),
            max(part.box[3] for part in parts),
        )
        spans = parts[0].spans if len(parts) == 1 else union([part.spans for part in parts])
        score = max(part.score for part in parts)
        open_ends = any(
            not any(_beyond(self.views[other], self.views[view], side) for other in views)
            for part in parts
            for view in part.views
            for side in self._sides_reached(part, view)
        )
        extent = box_of(spans, self._height)
        return _Found(parts[0].label, score, box, spans, extent, views, cut=open_ends)

    def _distinct(self, found: list[_Found]) -> list[_Found]:
        kept: list[_Found] = []
        for one in sorted(found, key=lambda each: (each.cut, -each.score)):
            rivals = (
                other
                for other in kept
                if other.label == one.label and not other.views & one.views and _touch(other, one)
            )
            if not any(self._same(one, other) for other in rivals):
                kept.append(one)
        return kept

    def _same(self, one: _Found, kept: _Found) -> bool:
        shared = common(one.spans, kept.spans)
        if one.cut and shared > CONTAINED * one.area:
            return True
        return shared > self._threshold * (one.area + kept.area - shared)


def _as_coco(box: Edges) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def _zone(one: Window, other: Window) -> tuple[Window, Window] | None:
    """The part of each of two tiles that is compared: where both look, or, where they only touch, the pixels
    on either side of the border; None where they don't meet along a side.
    """
    left, right = max(one.left, other.left), min(one.left + one.width, other.left + other.width)
    top, bottom = max(one.top, other.top), min(one.top + one.height, other.top + other.height)
    if right > left and bottom > top:
        both = Window(left, top, right - left, bottom - top)
        return both, both
    if right == left and bottom > top:
        sides = [Window(left - 1, top, 1, bottom - top), Window(left, top, 1, bottom - top)]
        return (sides[0], sides[1]) if one.left < other.left else (sides[1], sides[0])
    if bottom == top and right > left:
        sides = [Window(left, top - 1, right - left, 1), Window(left, top, right - left, 1)]
        return (sides[0], sides[1]) if one.top < other.top else (sides[1], sides[0])
    return None


def _meet(extent: Box, window: Window) -> bool:
    left, top, right, bottom = extent
    return (
        left < window.left + window.width
        and right > window.left
        and top < window.top + window.height
        and bottom > window.top
    )


def _touch(one: _Found, other: _Found) -> bool:
    a, b = one.extent, other.extent
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _explained(found: _Found, by: Sequence[_Found], sure: float) -> bool:
    """Whether a detection lies in one of others whose score is at least this share of its own."""
    return any(
        other.label == found.label
        and other.score >= sure * found.score
        and not other.views & found.views
        and _touch(other, found)
        and common(other.spans, found.spans) > CONTAINED * found.area
        for other in by
    )


def _beyond(other: Window, window: Window, side: int) -> bool:
    """Whether a tile of the same row or column goes on where a window ends."""
    same = other.top == window.top if side in (0, 2) else other.left == window.left
    ends = (
        other.left < window.left,
        other.top < window.top,
        other.left + other.width > window.left + window.width,
        other.top + other.height > window.top + window.height,
    )
    return same and ends[side]
