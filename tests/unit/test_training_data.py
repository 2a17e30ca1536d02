"""Training pictures and targets at the network's size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from torch.nn import functional

from maskline import training_data
from maskline.dataset import PreparedDataset
from maskline.loading import PictureDataset, loader
from maskline.models.resizing import ExactTransform, network_size
from maskline.pictures import open_upright
from maskline.settings import TrainingSettings, complete
from maskline.training_data import TrainingDataset, paste_objects, without_hidden

AZURE_LOSES = [(526, 722), (585, 729), (434, 1137), (1201, 477)]
"""Sizes for which Azure ML drops objects at the right or lower edge, by rounding (width, height)."""


def settings(min_size: int = 48, max_size: int = 96, **advanced: object) -> TrainingSettings:
    return complete({"min_size": min_size, "max_size": max_size, "advanced_settings": advanced})


def tiled_settings(min_size: int, max_size: int, grid: str = "2x1", **advanced: object) -> TrainingSettings:
    return settings(min_size, max_size, **advanced).model_copy(update={"tile_grid_size": grid})


@pytest.fixture
def coco(tiny_prepared: Path) -> dict:
    return PreparedDataset.read(tiny_prepared).coco("train")


def one_picture(
    folder: Path, width: int, height: int, masks: list[np.ndarray], crowd: int = 0, grain: int = 8
) -> dict:
    """A split with one JPEG file of noise and these masks; the last `crowd` of them are crowd regions."""
    noise = np.random.default_rng(0).integers(
        0, 256, (height // grain + 1, width // grain + 1, 3), dtype=np.uint8
    )
    file = folder / f"{width}x{height}.jpg"
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, quality=95)
    annotations = []
    for number, mask in enumerate(masks, 1):
        code = rle.encode(np.asfortranarray(mask))
        annotations.append(
            {
                "id": number,
                "image_id": 7,
                "category_id": number,
                "bbox": rle.toBbox(code).tolist(),
                "iscrowd": int(number > len(masks) - crowd),
                "segmentation": {**code, "counts": code["counts"].decode()},
            }
        )
    image = {"id": 7, "file_name": str(file), "width": width, "height": height}
    return {"images": [image], "annotations": annotations}


def full_size(coco: dict) -> torch.Tensor:
    """The first picture as detection gets it, in 0 ... 1."""
    return PictureDataset(coco)[0][0].float() / 255


def assert_whole(picture: torch.Tensor, target: dict[str, torch.Tensor]) -> None:
    """Boxes lie in the picture, none is empty, and each holds its mask."""
    height, width = picture.shape[1:]
    boxes, masks = target["boxes"], target["masks"]
    assert picture.dtype == torch.uint8
    assert len(boxes) == len(masks) == len(target["labels"])
    assert masks.shape[1:] == target["crowds"].shape[1:] == (height, width)
    assert (boxes >= 0).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
    for (x1, y1, x2, y2), mask in zip(boxes.tolist(), masks, strict=True):
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        assert len(rows)
        assert x1 - 1 <= columns.min() <= columns.max() + 1 <= x2 + 1
        assert y1 - 1 <= rows.min() <= rows.max() + 1 <= y2 + 1


class TestWithoutAugmentation:
    def test_as_the_full_picture_resized_by_the_network(self, tmp_path: Path) -> None:
        masks = np.zeros((3, 150, 200), np.uint8)
        masks[0, 20:90, 30:101], masks[0, 40:70, 50:80] = 1, 0
        masks[1, :, 150:], masks[2, 60:, :40] = 1, 1
        coco = one_picture(tmp_path, 200, 150, list(masks), crowd=1)
        picture, target = TrainingDataset(coco, settings(120, 400))[0]
        expected, _ = ExactTransform(120, 400).eval().resize(full_size(coco))
        assert picture.shape == expected.shape == (3, 120, 160)
        assert (picture.float() - 255 * expected).abs().max() < 1.01
        resized = functional.interpolate(torch.from_numpy(masks)[:, None], (120, 160), mode="nearest-exact")
        assert torch.equal(target["masks"], resized[:2, 0])
        assert torch.equal(target["crowds"], resized[2:, 0])
        assert target["labels"].tolist() == [1, 2]
        assert torch.allclose(target["boxes"][0], torch.tensor([24.0, 16.0, 80.8, 72.0]))
        assert target["image_id"].tolist() == [7]

    def test_a_far_larger_file_is_decoded_at_a_smaller_scale(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        coco = one_picture(tmp_path, 1600, 1200, [np.ones((1200, 1600), np.uint8)], grain=64)
        decoded = []

        def recorded(file: str, least: tuple[int, int]) -> Image.Image:
            decoded.append(open_upright(file, least))
            return decoded[0]

        monkeypatch.setattr(training_data, "open_upright", recorded)
        picture, _ = TrainingDataset(coco, settings(150, 400))[0]
        assert decoded[0].size == (400, 300)
        expected, _ = ExactTransform(150, 400).eval().resize(full_size(coco))
        assert picture.shape == expected.shape
        assert (picture.float() - 255 * expected).abs().mean() < 0.8

    def test_fine_detail_is_smoothed_on_both_paths(self, tmp_path: Path) -> None:
        """Without anti-aliasing the two were 6 levels apart, and 20 with fewer pixels from the decoder."""
        coco = one_picture(tmp_path, 1600, 1200, [np.ones((1200, 1600), np.uint8)], grain=4)
        picture, _ = TrainingDataset(coco, settings(240, 400))[0]
        expected, _ = ExactTransform(240, 400).eval().resize(full_size(coco))
        assert picture.shape == expected.shape
        assert (picture.float() - 255 * expected).abs().mean() < 3

    @pytest.mark.parametrize("upright", [1, 6])
    def test_orientation_is_applied(self, tmp_path: Path, upright: int) -> None:
        coco = one_picture(tmp_path, 400, 300, [], grain=32)
        file = Path(coco["images"][0]["file_name"])
        with Image.open(file) as image:
            exif = image.getexif()
            exif[0x0112] = upright
            image.save(file, exif=exif, quality=95)
        if upright == 6:
            coco["images"][0] |= {"width": 300, "height": 400}
        picture, target = TrainingDataset(coco, settings(75, 200))[0]
        expected, _ = ExactTransform(75, 200).eval().resize(full_size(coco))
        assert picture.shape == expected.shape
        assert (picture.float() - 255 * expected).abs().mean() < 3
        assert target["boxes"].shape == (0, 4)

    @pytest.mark.parametrize(("width", "height"), AZURE_LOSES)
    def test_objects_at_the_edges_stay(self, tmp_path: Path, width: int, height: int) -> None:
        masks = np.zeros((4, height, width), np.uint8)
        masks[0, -9:, :], masks[1, :, -9:], masks[2, :9, :], masks[3, -1:, -1:] = 1, 1, 1, 1
        coco = one_picture(tmp_path, width, height, list(masks))
        for augment in (False, True):
            picture, target = TrainingDataset(coco, settings(600, 1333), augment=augment)[0]
            assert_whole(picture, target)
            assert augment or target["labels"].tolist() == [1, 2, 3, 4]

    def test_an_object_without_a_pixel_of_its_own_keeps_one(self, tmp_path: Path) -> None:
        masks = np.zeros((1, 400, 400), np.uint8)
        masks[0, 201, 200] = 1
        picture, target = TrainingDataset(one_picture(tmp_path, 400, 400, list(masks)), settings(40, 40))[0]
        assert target["masks"].sum() == 1
        assert target["masks"][0, 20, 20] == 1
        assert_whole(picture, target)

    def test_sizes_are_the_networks(self) -> None:
        random = np.random.default_rng(0)
        transform = ExactTransform(600, 1333).eval()
        for width, height in [*AZURE_LOSES, *random.integers(1, 3000, (60, 2)).tolist()]:
            size = transform._size(torch.empty(3, height, width, device="meta").new_empty(3, height, width))
            assert network_size((width, height), 600, 1333) == tuple(size[::-1])


class TestTiles:
    """A picture of 200 x 100, cut in two tiles of 114 pixels that overlap by 28; the second starts at 86."""

    def test_the_whole_and_the_tiles_with_objects_are_items(self, tmp_path: Path) -> None:
        masks = np.zeros((2, 100, 200), np.uint8)
        masks[0, 10:30, 5:25], masks[1, 50:90, 40:60] = 1, 1
        dataset = TrainingDataset(one_picture(tmp_path, 200, 100, list(masks)), tiled_settings(100, 200))
        assert len(dataset) == 2  # nothing is on the tile at the right
        (_, whole), (picture, target) = dataset
        assert [t["image_id"].tolist() for t in (whole, target)] == [[7], [7]]
        assert picture.shape == (3, 100, 114)
        assert torch.equal(target["masks"], torch.from_numpy(masks[:, :, :114].copy()))
        assert torch.equal(target["boxes"], whole["boxes"])

    def test_pixels_and_masks_are_those_of_the_part(self, tmp_path: Path) -> None:
        masks = np.zeros((1, 100, 200), np.uint8)
        masks[0, 20:60, 120:180] = 1
        coco = one_picture(tmp_path, 200, 100, list(masks))
        _, (picture, target) = TrainingDataset(coco, tiled_settings(100, 200))
        with Image.open(coco["images"][0]["file_name"]) as image:
            assert torch.equal(picture.permute(1, 2, 0), torch.from_numpy(np.array(image)[:, 86:]))
        assert torch.equal(target["masks"][0], torch.from_numpy(masks[0, :, 86:].copy()))
        assert target["boxes"].tolist() == [[34, 20, 94, 60]]

    def test_an_object_with_little_of_it_in_the_tile_is_ignored_there(self, tmp_path: Path) -> None:
        masks = np.zeros((3, 100, 200), np.uint8)
        masks[0, 5:25, 10:110] = 1  # 24 of 100 columns are in the tile at the right: learnt as it is there
        masks[1, 30:50, 10:96] = 1  # 10 of 86: ignored
        masks[2, 60:80, 150:190] = 1
        dataset = TrainingDataset(one_picture(tmp_path, 200, 100, list(masks)), tiled_settings(100, 200))
        picture, target = dataset[2]
        assert_whole(picture, target)
        assert target["labels"].tolist() == [1, 3]
        assert target["boxes"].tolist() == [[0, 5, 24, 25], [64, 60, 104, 80]]
        assert torch.equal(target["crowds"][0], torch.from_numpy(masks[1, :, 86:].copy()))
        assert dataset[0][1]["labels"].tolist() == [1, 2, 3]

    def test_augmented_tiles_are_whole_and_depend_on_seed_epoch_and_index(self, coco: dict) -> None:
        def items() -> list[torch.Tensor]:
            chosen = tiled_settings(64, 96, "2x2", copy_paste=0.5)
            dataset = TrainingDataset(coco, chosen, augment=True, seed=2)
            for item in dataset:
                assert_whole(*item)
            return [picture for picture, _ in dataset]

        first, again = items(), items()
        assert len(first) > len(coco["images"])
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


class TestAugmentation:
    def test_it_depends_on_seed_epoch_and_index_only(self, coco: dict) -> None:
        def items(seed: int, epoch: int, backwards: bool = False) -> list[torch.Tensor]:
            dataset = TrainingDataset(coco, settings(copy_paste=0.5), augment=True, seed=seed)
            dataset.set_epoch(epoch)
            torch.manual_seed(np.random.randint(1000))
            order = range(len(dataset))
            found = {i: dataset[i] for i in (reversed(order) if backwards else order)}
            return [part for i in order for part in (found[i][0], *found[i][1].values())]

        def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
            return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

        assert equal(items(1, 1), items(1, 1, backwards=True))
        assert not equal(items(1, 1), items(1, 2))
        assert not equal(items(1, 1), items(2, 1))

    @pytest.mark.parametrize("mib", [0, 50, 0.05])
    def test_neither_processes_nor_the_cache_change_a_thing(self, coco: dict, mib: float) -> None:
        plain = TrainingDataset(coco, settings(copy_paste=0.5), augment=True, seed=3)
        cached = TrainingDataset(coco, settings(copy_paste=0.5), augment=True, seed=3)
        cached._cache = type(cached._cache)(cached._decoded, int(mib * 2**20))
        batches = loader(cached, batch_size=2, workers=2)
        for epoch in (1, 2):
            plain.set_epoch(epoch)
            cached.set_epoch(epoch)
            found = [(p, t) for pictures, targets in batches for p, t in zip(pictures, targets, strict=True)]
            for (picture, target), (expected, truth) in zip(found, plain, strict=True):
                assert torch.equal(picture, expected)
                target["masks"] = target["masks"].dense()
                assert all(torch.equal(target[name], truth[name]) for name in truth)
        assert (len(cached._cache) == len(coco["images"])) is (mib == 50)

    @pytest.mark.parametrize("more", [{}, {"large_scale_jitter": True}, {"copy_paste": 1.0}])
    def test_targets_stay_right(self, coco: dict, more: dict) -> None:
        dataset = TrainingDataset(coco, settings(60, 120, **more), augment=True)
        sizes = set()
        for epoch in range(20):
            dataset.set_epoch(epoch)
            for picture, target in dataset:
                assert_whole(picture, target)
                sizes.add(tuple(picture.shape[1:]))
        assert len(sizes) > 5  # scale jitter

    def test_a_switch_for_flips(self, tmp_path: Path) -> None:
        mask = np.zeros((64, 64), np.uint8)
        mask[:, :20] = 1  # at the left edge, whatever the zoom
        coco = one_picture(tmp_path, 64, 64, [mask])

        def at_the_right(flips: bool) -> float:
            dataset = TrainingDataset(coco, settings(64, 64, horizontal_flip=flips), augment=True)
            found = []
            for epoch in range(60):
                dataset.set_epoch(epoch)
                picture, target = dataset[0]
                middle = (target["boxes"][:, 0] + target["boxes"][:, 2]) / 2
                found += (middle > picture.shape[2] / 2).tolist()
            return sum(found) / len(found)

        assert at_the_right(False) < 0.2  # a small picture may lie at the right of its canvas
        assert 0.3 < at_the_right(True) < 0.7

    def test_a_crop_loses_no_object_in_sight(self, tmp_path: Path) -> None:
        """Azure ML deletes an object by which a crop's edge runs, box and mask."""
        masks = np.zeros((5, 100, 100), np.uint8)
        masks[0, 40:60, 40:60] = 1
        for mask, (rows, columns) in zip(
            masks[1:],
            [
                (slice(10, 30), slice(40, 60)),
                (slice(70, 90), slice(40, 60)),
                (slice(40, 60), slice(10, 30)),
                (slice(40, 60), slice(70, 90)),
            ],
            strict=True,
        ):
            mask[rows, columns] = 1
        coco = one_picture(tmp_path, 100, 100, list(masks))
        dataset = TrainingDataset(coco, settings(100, 100), augment=True)
        for epoch in range(120):
            dataset.set_epoch(epoch)
            picture, target = dataset[0]
            assert_whole(picture, target)
            # A zoom shows at least 77 of 100 rows and columns, so 13 of the outer ones' 20 at least.
            assert target["labels"].tolist() == [1, 2, 3, 4, 5]

    def test_boxes_and_masks_go_along_with_the_pixels(self, tmp_path: Path) -> None:
        """A white rectangle on black: where the picture is white there is the mask."""
        mask = np.zeros((80, 120), np.uint8)
        mask[24:64, 30:80] = 1
        coco = one_picture(tmp_path, 120, 80, [mask])
        file = tmp_path / "white.png"
        Image.fromarray(mask * 255).convert("RGB").save(file)
        coco["images"][0]["file_name"] = str(file)
        dataset = TrainingDataset(coco, settings(60, 200), augment=True)
        for epoch in range(60):
            dataset.set_epoch(epoch)
            picture, target = dataset[0]
            white = picture.float().mean(0) > 140  # the fill is darker, and so is a darkened white's edge
            assert (white != (target["masks"][0] > 0)).float().mean() < 0.03
            rows, columns = white.nonzero(as_tuple=True)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert torch.allclose(target["boxes"][0], torch.stack(seen).float(), atol=1.3)


def test_a_picture_may_have_hundreds_of_objects(tmp_path: Path) -> None:
    """A zoom cuts some of them off, whose share in sight is then computed."""
    masks = []
    for number in range(300):
        x, y = 4 * (number % 30), 4 * (number // 30)
        masks.append(np.zeros((40, 120), np.uint8))
        masks[-1][y : y + 3, x : x + 3] = 1
    dataset = TrainingDataset(one_picture(tmp_path, 120, 40, masks), settings(40, 120), augment=True)
    found = []
    for epoch in range(12):
        dataset.set_epoch(epoch)
        found.append(len(dataset[0][1]["labels"]))
    assert min(found) < max(found) == 300


def test_an_object_all_but_out_of_sight_is_ignored_not_background() -> None:
    masks = torch.zeros(3, 10, 10, dtype=torch.uint8)
    masks[0, :, 0], masks[1, 3:6, 3:6] = 1, 1
    target = {
        "boxes": torch.tensor([[0.0, 0, 1, 10], [2.5, 3, 6, 6], [9, 9, 10, 10]]),
        "labels": torch.tensor([1, 2, 3]),
        "masks": masks,
        "crowds": torch.zeros(0, 10, 10, dtype=torch.uint8),
    }
    left = without_hidden(target, torch.tensor([True, False, True]), torch.tensor([100.0, 9, 50]))
    assert left["labels"].tolist() == [2]
    assert left["boxes"].tolist() == [[2.5, 3, 6, 6]]
    assert torch.equal(left["crowds"], masks[:1])


def test_pasted_objects_cover_what_is_under_them() -> None:
    def sample(value: int, columns: slice, label: int, side: int) -> tuple:
        masks = torch.zeros(1, side, side, dtype=torch.uint8)
        masks[0, 2:8, columns] = 1
        picture = torch.full((3, side, side), value, dtype=torch.uint8)
        start, stop = float(columns.start), float(columns.stop)
        return picture, {
            "boxes": torch.tensor([[start, 2.0, stop, 8.0]]),
            "labels": torch.tensor([label]),
            "masks": masks,
            "crowds": torch.zeros(0, side, side, dtype=torch.uint8),
        }

    class Always:
        def random(self, n: int) -> np.ndarray:
            return np.zeros(n)

    picture, target = paste_objects(Always(), sample(10, slice(1, 6), 1, 12), sample(200, slice(4, 9), 2, 10))
    assert target["labels"].tolist() == [1, 2]
    assert target["boxes"].tolist() == [[1, 2, 4, 8], [4, 2, 9, 8]]
    assert not (target["masks"].sum(0) > 1).any()
    assert torch.equal(picture[0] == 200, target["masks"][1] > 0)
