"""The prepared data set as training sees it: at the network's size, changed at random."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as rle
from torch import Tensor

from .augmentation import View, change_colour, draw_view, whole
from .loading import PictureDataset, Sample
from .models import family_of
from .packed_masks import PackedMasks
from .picture_cache import MIB, PictureCache
from .pictures import open_upright
from .resampling import resampled
from .run_lengths import look_up
from .settings import TrainingSettings
from .tiling import Tiling, Window

LEAST_VISIBLE = 0.2
"""Share of an object that has to be in sight to be learnt; else its place is ignored in the loss."""
DECODED = 2
"""Pictures are decoded at this many times their sides, where the files have them, and the rest is resampled.

The decoder's own smoothing would show in fewer. Pillow's `thumbnail` has the same number. What is left of it
in AP: `make bench ONLY=data_path_ap`.
"""

Size = tuple[int, int]
Target = dict[str, Tensor]


class TrainingDataset(PictureDataset):
    """Pictures at the size that the network works on, and the instances on them.

    An item is a picture, uint8 (3, H, W), and a target: boxes (n, 4) float32 x1 y1 x2 y2 in pixels,
    0 <= x1 < x2 <= W and likewise y; labels (n,) int64 from 1; masks (n, H, W) uint8; crowds (k, H, W) uint8,
    k 0 or 1, regions that are neither object nor background; image_id (1,) int64.

    With a tiling, a tile with objects is an item as the whole picture is, and is treated as a picture of its
    own; masks end where it does.

    In the batches of a loader masks are packed, see `PackedMasks`: so a batch that waits
    for its step holds no stack of them.

    Without augmentation the size is that of `Family.size`. Pictures are decoded at the smallest scale
    that isn't below DECODED times that. An item depends on seed, epoch and index alone: neither on the
    process that loads it nor on the cache.
    """

    def __init__(
        self, coco: dict[str, Any], settings: TrainingSettings, *, augment: bool = False, seed: int = 0
    ) -> None:
        """Describe the data; nothing is read.

        Args:
            coco: one split of a prepared data set (`PreparedDataset.coco`).
            settings: the model, its sizes, and the advanced settings on augmentation and cache_mib are read.
            augment: change pictures at random.
            seed: of the changes.
        """
        super().__init__(coco)
        self._instances: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._crowds: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for instance in coco["annotations"]:
            kind = self._crowds if instance.get("iscrowd") else self._instances
            kind[instance["image_id"]].append(instance)
        # Shared, so that loader processes that live for the whole training see the epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._advanced = settings.advanced
        self._random_views = augment
        self._seed = seed
        items = list(self._items(Tiling.of(settings)))
        self.images = [image for image, _ in items]
        self._windows = [window for _, window in items]
        self._originals = [(window.width, window.height) for window in self._windows]
        own = family_of(settings.model_name)
        self._sizes = [own.size(size, settings) for size in self._originals]
        # A picture is never stored enlarged.
        self._decoded = [min(pair) for pair in zip(self._originals, self._sizes, strict=True)]
        self._cache = PictureCache(self._decoded, settings.advanced.cache_mib * MIB)

    def _items(self, tiling: Tiling | None) -> Iterator[tuple[dict[str, Any], Window]]:
        """Every picture as a whole, followed by those of its tiles on which objects are, as on Azure."""
        for image in self.images:
            size = image["width"], image["height"]
            whole, *tiles = tiling.views(*size) if tiling else [Window(0, 0, *size)]
            yield image, whole
            for tile in tiles:
                if _inside(self._instances[image["id"]], tile):
                    yield image, tile

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes: each has its own augmentations."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng([self._seed, int(self._epoch), index])
        picture, target = self._seen(index, self._view(random, index))
        if self._random_views:
            picture = change_colour(random, picture)
            if random.random() < self._advanced.copy_paste:
                other = int(random.integers(len(self)))
                picture, target = paste_objects(
                    random, (picture, target), self._seen(other, self._view(random, other))
                )
        target["image_id"] = torch.tensor([self.images[index]["id"]])
        return picture, target

    def __getitems__(self, indices: list[int]) -> list[Sample]:
        """Items as loaders ask for them: masks are packed, one picture's after the other."""
        found = []
        for index in indices:
            picture, target = self[index]
            found.append((picture, {**target, "masks": PackedMasks.of(target["masks"])}))
        return found

    def _view(self, random: np.random.Generator, index: int) -> View:
        if not self._random_views:
            return whole(self._decoded[index], self._sizes[index])
        return draw_view(random, self._decoded[index], self._sizes[index], self._advanced)

    def _seen(self, index: int, view: View) -> Sample:
        """Picture and target in a view."""
        pixels = self._cache.get(index, lambda: self._decode(index))
        return view.pixels(pixels), self._target(index, view)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        """The item's part of the picture, (height, width, 3), at the size in which it is kept."""
        width, height = self._decoded[index]
        image, (left, top, wide, high) = self.images[index], self._windows[index]
        if (wide, high) == (image["width"], image["height"]):
            least = DECODED * width, DECODED * height
            pixels = np.array(open_upright(image["file_name"], least=least))
        else:
            pixels = np.array(open_upright(image["file_name"]).crop((left, top, left + wide, top + high)))
        if pixels.shape[:2] == (height, width):
            return pixels
        small = resampled(torch.from_numpy(pixels).permute(2, 0, 1), (height, width))
        return np.ascontiguousarray(small.permute(1, 2, 0).numpy())

    def _target(self, index: int, view: View) -> Target:
        image, window = self.images[index]["id"], self._windows[index]
        instances = _inside(self._instances[image], window)
        masks = self._masks(index, view, [*instances, *self._crowds[image]])
        masks, crowds = masks[: len(instances)], masks[len(instances) :]
        boxes = torch.tensor([i["bbox"] for i in instances], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes -= torch.tensor([*window[:2], *window[:2]])
        boxes, cut = view.boxes(boxes, self._originals[index], self._decoded[index])
        target = {
            "boxes": boxes,
            "labels": torch.tensor([i["category_id"] for i in instances], dtype=torch.int64),
            "masks": masks,
            "crowds": crowds.amax(0, keepdim=True) if len(crowds) else crowds,
        }
        if not cut.any():
            return with_a_pixel_each(target)
        shown = self._decoded[index][0] * self._decoded[index][1] / (view.window[2] * view.window[3])
        scale = shown * view.part[0] * view.part[1] / (self._originals[index][0] * self._originals[index][1])
        # One by one: pycocotools fails on a list of more than 255.
        areas = torch.tensor([float(rle.area(i["segmentation"])) for i in instances], dtype=torch.float64)
        return without_hidden(target, cut, areas * scale)

    def _masks(self, index: int, view: View, instances: list[dict[str, Any]]) -> Tensor:
        """(n, H, W) uint8 on the canvas of the view."""
        width, height = view.canvas
        masks = np.zeros((len(instances), height, width), dtype=np.uint8)
        columns, rows = view.grid(self._originals[index], self._decoded[index])
        columns, rows = columns + self._windows[index].left, rows + self._windows[index].top
        x, y = view.place
        canvas = masks[:, :, ::-1] if view.flip else masks
        part = canvas[:, y : y + len(rows), x : x + len(columns)]
        look_up([i["segmentation"] for i in instances], columns, rows, part)
        return torch.from_numpy(masks)


def _inside(instances: list[dict[str, Any]], window: Window) -> list[dict[str, Any]]:
    """Instances whose boxes reach into a window."""
    left, top, width, height = window
    return [
        instance
        for instance in instances
        for x, y, wide, high in [instance["bbox"]]
        if x < left + width and x + wide > left and y < top + height and y + high > top
    ]


def with_a_pixel_each(target: Target) -> Target:
    """A target in which an object too small for any pixel's centre has the pixel under its own."""
    height, width = target["masks"].shape[-2:]
    for index in (target["masks"].amax((1, 2)) == 0).nonzero()[:, 0].tolist():
        x1, y1, x2, y2 = target["boxes"][index].tolist()
        x, y = min(int((x1 + x2) / 2), width - 1), min(int((y1 + y2) / 2), height - 1)
        target["masks"][index, y, x] = 1
    return target


def without_hidden(target: Target, cut: Tensor, areas: Tensor) -> Target:
    """A target from which objects out of sight are gone, and those all but out of sight are crowd regions.

    Args:
        target: with boxes, labels, masks (n, H, W) and crowds.
        cut: (n,) bool, which objects are cut or covered; the boxes of those that stay become tight.
        areas: (n,) pixels of the whole objects.
    """
    visible = _pixels_of(target["masks"])
    kept = ~cut | (visible >= (LEAST_VISIBLE * areas).clamp(min=1))
    ignored = torch.cat([target["crowds"], target["masks"][~kept]])
    boxes = target["boxes"].clone()
    for index in (cut & kept).nonzero()[:, 0].tolist():
        boxes[index] = tight_boxes(target["masks"][index : index + 1])[0]
    # No second stack if it would be the same.
    masks = target["masks"] if kept.all() else target["masks"][kept]
    left = {"boxes": boxes[kept], "labels": target["labels"][kept], "masks": masks}
    some = ignored.amax(0, keepdim=True) if len(ignored) else ignored
    return with_a_pixel_each({**left, "crowds": some if some.any() else some[:0]})


def _pixels_of(masks: Tensor) -> Tensor:
    """(n,) int64, the pixels in each of the masks (n, H, W) uint8.

    One by one: torch's sum makes a copy of all of them with eight bytes a pixel.
    """
    return torch.tensor([np.count_nonzero(mask) for mask in masks.numpy()], dtype=torch.int64)


def tight_boxes(masks: Tensor) -> Tensor:
    """(n, 4) float32 boxes along the edges of the outermost pixels of masks (n, H, W), none of them empty."""
    found = []
    for axis in (1, 2):
        hit = masks.amax(axis)
        size = hit.shape[1]
        found.append((hit.argmax(1), size - hit.flip(1).argmax(1)))
    (x1, x2), (y1, y2) = found
    return torch.stack([x1, y1, x2, y2], dim=1).float()


def paste_objects(random: np.random.Generator, onto: Sample, source: Sample) -> Sample:
    """A picture onto which about half of the objects of another are pasted, where they are there.

    Objects that are covered shrink to what is still in sight.
    """
    (picture, target), (other, objects) = onto, source
    chosen = torch.from_numpy(random.random(len(objects["labels"])) < 0.5)
    height, width = (min(pair) for pair in zip(picture.shape[1:], other.shape[1:], strict=True))
    new = torch.zeros(int(chosen.sum()), *picture.shape[1:], dtype=torch.uint8)
    new[:, :height, :width] = objects["masks"][chosen][:, :height, :width]
    seen = new.amax((1, 2)) > 0
    new, labels = new[seen], objects["labels"][chosen][seen]
    if not len(new):
        return onto
    over = new.amax(0)
    picture = picture.clone()
    picture[:, :height, :width] = torch.where(
        over[:height, :width] > 0, other[:, :height, :width], picture[:, :height, :width]
    )
    before = _pixels_of(target["masks"])
    masks = target["masks"] * (1 - over)
    covered = _pixels_of(masks) < before
    changed = {**target, "masks": masks, "crowds": target["crowds"] * (1 - over)}
    left = without_hidden(changed, covered, before.double())
    return picture, {
        "boxes": torch.cat([left["boxes"], tight_boxes(new)]),
        "labels": torch.cat([left["labels"], labels]),
        "masks": torch.cat([left["masks"], new]),
        "crowds": left["crowds"],
    }
