import filecmp

import numpy as np
import pytest
from PIL import Image

from maskline.annotations import rasterise, read_annotations
from maskline.annotations.masks import decode
from maskline.errors import JobError
from maskline.sample_data import CLASSES, write_sample_data


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_sample_data(tmp_path_factory.mktemp("sample"), pictures=40, size=96, seed=1)


def drawn(sample):
    for part in ("train", "validation"):
        for picture in read_annotations(sample / part, "mltable").pictures:
            yield picture, [rasterise(i.shape, 96, 96)[0] for i in picture.instances]


def test_parts_and_classes(sample):
    train, validation = (read_annotations(sample / part) for part in ("train", "validation"))
    assert (len(train.pictures), len(validation.pictures)) == (32, 8)
    assert train.classes == CLASSES
    assert train.findings == validation.findings == []
    assert sum(not p.listed for p in train.pictures + validation.pictures) == 3


def test_masks_are_of_what_can_be_seen(sample):
    holes = parts = 0
    for picture, masks in drawn(sample):
        arrays = [decode(m) for m in masks]
        assert np.sum(arrays, axis=0).max(initial=0) <= 1, "a pixel belongs to one object"
        image = np.asarray(Image.open(picture.file)).astype(float)
        assert image.shape == (96, 96, 3)
        for mask in masks:
            assert mask.area > 10
            assert max(mask.bbox[2:]) <= 64
        holes += sum(len(i.shape.rings) > 1 for i in picture.instances)
        parts += len(masks)
    assert parts > 60
    assert holes > 5


def test_objects_can_be_told_from_their_ground(sample):
    contrasts = []
    for picture, masks in drawn(sample):
        image = np.asarray(Image.open(picture.file)).astype(float)
        free = np.sum([decode(m) for m in masks], axis=0) == 0
        for mask in masks:
            inside = image[decode(mask) > 0].mean(axis=0)
            contrasts.append(np.abs(inside - image[free].mean(axis=0)).max())
    assert np.median(contrasts) > 40


def test_the_seed_decides(sample, tmp_path):
    again = write_sample_data(tmp_path / "again", pictures=40, size=96, seed=1)
    other = write_sample_data(tmp_path / "other", pictures=40, size=96, seed=2)
    names = sorted(str(p.relative_to(sample)) for p in sample.rglob("*") if p.is_file())
    assert len(names) == 44
    assert filecmp.cmpfiles(sample, again, names, shallow=False)[0] == names
    assert len(filecmp.cmpfiles(sample, other, names, shallow=False)[1]) == 42


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(JobError, match="is not empty"):
        write_sample_data(tmp_path)
    with pytest.raises(JobError, match="is not empty"):
        write_sample_data(tmp_path / "thesis.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("sizes", [{"pictures": 9}, {"size": 63}])
def test_sizes_that_are_too_small(tmp_path, sizes):
    with pytest.raises(JobError, match="or more"):
        write_sample_data(tmp_path / "new", **sizes)
