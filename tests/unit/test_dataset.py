import json

import pytest

from maskline.dataset import PreparedDataset
from maskline.errors import DataError


def dataset(path, **changes):
    known = {"classes": ("a", "naïve"), "digest": "0" * 64, "splits": {"train": {"images": 1}}, "seed": 3}
    return PreparedDataset(path=path, **{**known, **changes})


def test_what_is_written_is_read(tmp_path):
    written = dataset(tmp_path, findings={"bad_polygon": 2})
    written.write()
    assert PreparedDataset.read(tmp_path) == written


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": 99}'])
def test_folders_without_a_prepared_data_set(tmp_path, text):
    if text is not None:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=str(tmp_path)):
        PreparedDataset.read(tmp_path)


def test_splits(tmp_path):
    found = dataset(tmp_path)
    (tmp_path / "train.json").write_text(json.dumps({"images": []}))
    assert found.coco("train") == {"images": []}
    with pytest.raises(DataError, match="no test split; it has train"):
        found.coco("test")
    assert found.evaluation_split == "validation"
    assert dataset(tmp_path, splits={"train": {}, "test": {}}).evaluation_split == "test"
