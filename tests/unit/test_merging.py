"""Objects across tiles come out once and whole; neighbours stay apart."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import maskline
from maskline import rle
from maskline.detections import Detections
from maskline.tiling import Tiling

WIDTH, HEIGHT = 600, 400
Bitmap = NDArray[np.bool_]


def disc(x: float, y: float, radius: float) -> Bitmap:
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def rectangle(left: int, top: int, right: int, bottom: int) -> Bitmap:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def found(masks: list[Bitmap], labels: list[int], scores: list[float], size: tuple[int, int]) -> Detections:
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return Detections(
        *size,
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.array(scores, dtype=np.float32),
        [rle.encode(mask) for mask in masks],
        ("round", "square"),
    )


class Perfect:
    """Finds what it can see of known objects, told from each other by the colour that they are painted in.

    On the whole picture it is blind where `tiles_only` says so.
    """

    def __init__(
        self, objects: list[Bitmap], labels: list[int] | None = None, tiles_only: bool = True
    ) -> None:
        self.labels = labels or [1] * len(objects)
        self.tiles_only = tiles_only
        self.picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
        for number, mask in enumerate(objects, 1):
            self.picture[mask] = number

    def __call__(self, view: NDArray[np.uint8]) -> Detections:
        height, width = view.shape[:2]
        numbers = [n for n in range(1, len(self.labels) + 1) if (view == n).any()]
        if self.tiles_only and (height, width) == (HEIGHT, WIDTH):
            numbers = []
        masks = [view[:, :, 0] == n for n in numbers]
        labels = [self.labels[n - 1] for n in numbers]
        scores = [0.5 + 0.4 * float(mask.mean()) for mask in masks]
        return found(masks, labels, scores, (width, height))


def iou(one: NDArray[np.uint8], other: Bitmap) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("tiles_only", [True, False])
@pytest.mark.parametrize("overlap", [0, 0.1, 0.25, 0.5])
def test_an_object_across_four_tiles_is_one(overlap: float, tiles_only: bool) -> None:
    whole = disc(300, 200, 120)
    detector = Perfect([whole], tiles_only=tiles_only)
    answer = maskline.tiled(detector, detector.picture, Tiling(2, 2, overlap))
    assert len(answer) == 1
    assert iou(answer.mask(0), whole) >= 0.95
    np.testing.assert_allclose(answer.boxes, [[180, 80, 421, 321]], atol=1)


@pytest.mark.parametrize("overlap", [0, 0.25])
@pytest.mark.parametrize("tiles_only", [True, False])
def test_an_object_over_all_tiles_is_one(overlap: float, tiles_only: bool) -> None:
    whole = rectangle(10, 150, 590, 260)
    detector = Perfect([whole], tiles_only=tiles_only)
    answer = maskline.tiled(detector, detector.picture, Tiling(3, 2, overlap))
    assert len(answer) == 1
    assert iou(answer.mask(0), whole) == 1


def test_objects_that_touch_at_a_seam_stay_apart() -> None:
    # Tiles of 343 pixels overlap from 257 to 343: both objects are seen by both, one of them whole.
    left, right = rectangle(150, 100, 300, 180), rectangle(300, 100, 450, 180)
    detector = Perfect([left, right])
    answer = maskline.tiled(detector, detector.picture, Tiling(2, 1, 0.25))
    assert len(answer) == 2
    for mask in (left, right):
        assert max(iou(answer.mask(index), mask) for index in range(2)) == 1


NEIGHBOURS = [rectangle(180, 100, 300, 180), rectangle(300, 100, 420, 180)]
"""Two objects of one class that touch where tiles of a 2x1 grid without overlap end."""


def test_the_whole_picture_tells_neighbours_apart_that_touch_where_tiles_end() -> None:
    detector = Perfect(NEIGHBOURS, tiles_only=False)
    answer = maskline.tiled(detector, detector.picture, Tiling(2, 1, 0))
    assert len(answer) == 2
    for mask in NEIGHBOURS:
        assert max(iou(answer.mask(index), mask) for index in range(2)) == 1


def test_without_overlap_tiles_alone_can_not_tell_such_neighbours_apart() -> None:
    detector = Perfect(NEIGHBOURS)
    answer = maskline.tiled(detector, detector.picture, Tiling(2, 1, 0))
    assert len(answer) == 1
    assert iou(answer.mask(0), NEIGHBOURS[0] | NEIGHBOURS[1]) == 1


@pytest.mark.parametrize(("sure", "number"), [(0.1, 1), (0.05, 2)])
def test_an_intact_detection_stands_for_pieces_unless_it_is_far_less_sure(sure: float, number: int) -> None:
    # The tiles' parts reach beyond what the whole picture shows; joined they are less than a quarter of it.
    whole, parts = rectangle(20, 20, 580, 220), rectangle(200, 150, 400, 250)

    def detector(view: NDArray[np.uint8]) -> Detections:
        height, width = view.shape[:2]
        if width == WIDTH:
            return found([whole], [1], [sure], (width, height))
        mask = parts[:, :width] if view[0, 0, 0] == 0 else parts[:, width:]
        return found([mask], [1], [0.9], (width, height))

    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[:, 300:] = 1
    answer = maskline.tiled(detector, picture, Tiling(2, 1, 0))
    assert answer.scores.tolist() == pytest.approx([sure] if number == 1 else [0.9, sure])


@pytest.mark.parametrize(("side", "number"), [(70, 1), (50, 4)])
def test_fragments_of_a_large_object_are_dropped_and_small_ones_in_a_blob_stay(
    side: int, number: int
) -> None:
    # Tiles are 267 x 229; the four squares on the tile at the top left are surer than what holds them all.
    squares = [rectangle(20 + x, 20 + y, 35 + x, 35 + y) for x in (0, side - 20) for y in (0, side - 20)]
    around = rectangle(15, 15, 20 + side, 20 + side)

    def detector(view: NDArray[np.uint8]) -> Detections:
        height, width = view.shape[:2]
        if width == WIDTH:
            return found([around], [1], [0.7], (width, height))
        masks = [mask[:height, :width] for mask in squares] if view[0, 0, 0] else []
        return found(masks, [1] * len(masks), [0.9] * len(masks), (width, height))

    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[:100, :100] = 1
    answer = maskline.tiled(detector, picture, Tiling(3, 2))
    assert len(answer) == number + (number > 1)
    assert (answer.scores > 0.8).sum() == (number if number > 1 else 0)


def test_classes_are_never_joined() -> None:
    detector = Perfect([rectangle(100, 50, 500, 90)])
    labels = iter([1, 2])

    def wavering(view: NDArray[np.uint8]) -> Detections:
        seen = detector(view)
        return replace(seen, labels=np.array([next(labels)])) if len(seen) else seen

    answer = maskline.tiled(wavering, detector.picture, Tiling(2, 1, 0.25))
    assert sorted(answer.names) == ["round", "square"]


def test_a_small_object_in_the_overlap_is_one_and_keeps_the_best_score() -> None:
    small = disc(300, 200, 8)
    detector = Perfect([small], tiles_only=False)
    answer = maskline.tiled(detector, detector.picture, Tiling(2, 2, 0.25))
    tile = Tiling(2, 2, 0.25).windows(WIDTH, HEIGHT)[0]
    expected = 0.5 + 0.4 * small.sum() / (tile.width * tile.height)
    assert len(answer) == 1
    assert iou(answer.mask(0), small) == 1
    assert answer.scores[0] == pytest.approx(expected, rel=1e-3)


def test_a_piece_of_what_the_whole_shows_is_dropped_whatever_its_score() -> None:
    whole = rectangle(20, 20, 580, 380)
    detector = Perfect([whole], tiles_only=False)

    def clumsy(view: NDArray[np.uint8]) -> Detections:
        seen = detector(view)
        if view.shape[1] == WIDTH:
            return found([whole], [1], [0.4], (WIDTH, HEIGHT))
        return seen if view[0, 0, 0] == 0 else found([], [], [], (view.shape[1], view.shape[0]))

    answer = maskline.tiled(clumsy, detector.picture, Tiling(3, 2, 0.25))
    assert len(answer) == 1
    assert iou(answer.mask(0), whole) == 1


def test_the_threshold_decides_between_windows_and_never_within_one() -> None:
    one, other = rectangle(100, 100, 160, 140), rectangle(120, 100, 180, 140)  # IoU 0.5

    def detector(view: NDArray[np.uint8]) -> Detections:
        height, width = view.shape[:2]
        whole = width == WIDTH
        if view[0, 0, 0] == 0:
            return found([], [], [], (width, height))
        mask = one if whole else other[:height, :width]
        return found([mask], [1], [0.9 if whole else 0.8], (width, height))

    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[:100, :100] = 1  # the window at the top left, and the whole
    for threshold, number in ((0.4, 1), (0.6, 2)):
        answer = maskline.tiled(detector, picture, Tiling(2, 2, 0, threshold))
        assert len(answer) == number
    both = maskline.tiled(
        lambda view: (
            found([one, other], [1, 1], [0.9, 0.8], (WIDTH, HEIGHT))
            if view.shape[1] == WIDTH
            else found([], [], [], (view.shape[1], view.shape[0]))
        ),
        picture,
        Tiling(2, 2, 0, 0.1),
    )
    assert len(both) == 2


def test_the_best_are_kept_where_there_are_too_many() -> None:
    detector = Perfect([disc(40 + 50 * n, 60, 10 + n) for n in range(10)])
    everything = maskline.tiled(detector, detector.picture, Tiling(3, 2))
    few = maskline.tiled(detector, detector.picture, Tiling(3, 2), most=4)
    assert len(everything) == 10
    assert few.scores.tolist() == everything.scores[:4].tolist()
    assert everything.scores.tolist() == sorted(everything.scores.tolist(), reverse=True)


def test_memory_does_not_grow_with_the_tiles() -> None:
    detector = Perfect([disc(300, 200, 150), disc(60, 60, 30)])
    peaks = []
    for tiling in (Tiling(2, 2), Tiling(10, 10)):
        tracemalloc.start()
        assert len(maskline.tiled(detector, detector.picture, tiling)) == 2
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
