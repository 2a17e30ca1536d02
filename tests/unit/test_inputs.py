from pathlib import Path

import pytest

from maskline.constants import AssetTypes, InputOutputModes
from maskline.errors import JobError
from maskline.inputs import DataType, Input, Output, data_problems, local_path, resolve

FOLDER = Path("/jobs/a")


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("./train", "/jobs/a/train"),
        ("train", "/jobs/a/train"),
        ("../train", "/jobs/train"),
        ("/data/train", "/data/train"),
        ("azureml:./train", "/jobs/a/train"),
        ("azureml:train", "/jobs/a/train"),
        ("azureml:data/train", "/jobs/a/data/train"),
        ("azureml:/data/train", "/data/train"),
        ("s3://bucket/train", "s3://bucket/train"),
        ("https://example.org/a b", "https://example.org/a b"),
        ("azureml:https://example.org/x", "https://example.org/x"),
        ("file:///data/train", "file:///data/train"),
    ],
)
def test_where_data_lie(path: str, where: str) -> None:
    assert resolve(Input(path=path), FOLDER) == where


@pytest.mark.parametrize(
    "path", ["azureml:my_train:3", "azureml:my_train@latest", "azureml://locations/x/data/y/versions/1"]
)
def test_assets_of_azure_are_looked_up_in_the_properties(path: str) -> None:
    with pytest.raises(JobError) as caught:
        resolve(Input(path=path), FOLDER, {"azureml:other:1": "x"})
    assert f'properties: {{"{path}": "./path/or/uri"}}' in str(caught.value)
    assert resolve(Input(path=path), FOLDER, {path: "./t"}) == "/jobs/a/t"
    assert resolve(Input(path=path), FOLDER, {path: "s3://b/t"}) == "s3://b/t"
    with pytest.raises(JobError):
        resolve(Input(path=path), FOLDER, {path: path})


LONG = "azureml://subscriptions/0-1/resourcegroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.mark.parametrize(
    "path",
    [
        "azureml://datastores/pics/paths/a b/train",
        "azureml://subscriptions/0-1/resourceGroups/g/workspaces/w/datastores/pics/paths/a b/train",
        f"{LONG}/datastores/pics/paths/a b/train",
        "AmlDatastore://pics/a b/train",
    ],
)
def test_datastores_are_looked_up_in_the_properties(path: str) -> None:
    with pytest.raises(JobError) as caught:
        resolve(Input(path=path), FOLDER, {"azureml://datastores/other": "x"})
    assert 'properties: {"azureml://datastores/pics": "s3://bucket/folder"}' in str(caught.value)
    for key in ("azureml://datastores/pics", "azureml://datastores/pics/"):
        assert resolve(Input(path=path), FOLDER, {key: "s3://b/p/"}) == "s3://b/p/a b/train"
        assert resolve(Input(path=path), FOLDER, {key: "./d"}) == "/jobs/a/d/a b/train"
    both = {path: "s3://exact", "azureml://datastores/pics": "s3://b"}
    assert resolve(Input(path=path), FOLDER, both) == "s3://exact"
    asset = {"azureml:mine:1": path, "azureml://datastores/pics": "s3://b"}
    assert resolve(Input(path="azureml:mine:1"), FOLDER, asset) == "s3://b/a b/train"


def test_data_elsewhere_are_judged_by_how_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_problems(Input(path="s3://b/x"), FOLDER, {}, look=False) == []
    assert data_problems(Input(path="gs://b/x"), FOLDER, {}, look=False) == []
    (line,) = data_problems(Input(path="s3://KEY:hush@b/x"), FOLDER, {}, look=False)
    assert "AWS_ACCESS_KEY_ID" in line
    assert "hush" not in line
    monkeypatch.setattr("maskline.inputs.find_spec", lambda name: None)
    (line,) = data_problems(Input(path="gs://b/x"), FOLDER, {})
    assert line == "path=gs://b/x can't be read here: gcsfs is not installed; pip install 'maskline[gcs]'"


def test_home_is_expanded() -> None:
    assert resolve(Input(path="~/x"), FOLDER) == str(Path.home() / "x")


def test_local_paths() -> None:
    assert local_path("/data/x") == Path("/data/x")
    assert local_path("file:///data/a%20b") == Path("/data/a b")
    assert local_path("s3://bucket/x") is None


def test_what_is_local_must_exist(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "MLTable").touch()
    (tmp_path / "coco.json").write_text("{}")
    assert data_problems(Input(path="train", type="mltable"), tmp_path, {}) == []
    assert data_problems(Input(path="coco.json", type="coco"), tmp_path, {}) == []
    assert data_problems(Input(path=f"file://{tmp_path}/train"), tmp_path, {}) == []
    assert data_problems(Input(path="train/MLTable", type="mltable"), tmp_path, {}) == []
    (line,) = data_problems(Input(path="trian"), tmp_path, {})
    assert line.startswith("path=trian doesn't exist")
    assert str(tmp_path / "trian") in line
    assert data_problems(Input(path="trian"), tmp_path, {}, look=False) == []
    assert "has no file MLTable" in data_problems(Input(path=".", type="mltable"), tmp_path, {})[0]
    assert "properties" in data_problems(Input(path="azureml:a:1"), tmp_path, {})[0]


def test_inputs_are_written_as_azure_writes_them() -> None:
    found = Input(type=AssetTypes.MLTABLE, path=Path("data/train"), mode=InputOutputModes.DIRECT)
    assert found.plain() == {"type": "mltable", "path": "data/train", "mode": "direct"}
    assert Input(path="x").plain() == {"type": "uri_folder", "path": "x"}
    assert Input(type="MLTable", path="x").type is DataType.MLTABLE
    assert Output(type=AssetTypes.MLFLOW_MODEL).plain() == {"type": "mlflow_model"}


def test_every_asset_type_is_an_input_or_an_output() -> None:
    for name in [name for name in vars(AssetTypes) if name.isupper()]:
        kind = getattr(AssetTypes, name)
        made = Output(type=kind) if name.endswith("MODEL") else Input(type=kind, path="x")
        assert made.type == kind


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"type": "mltabel", "path": "x"}, "did you mean mltable?"),
        ({"type": "mltable"}, "path is missing"),
        ({"path": ""}, "path='' is empty"),
        ({"path": 3}, "path=3 is not text"),
        ({"path": "x", "pth": "y"}, "did you mean path?"),
        ({"path": "x", "mode": "carry"}, "mode='carry' is not legal"),
    ],
)
def test_what_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(JobError) as caught:
        Input(**wrong)
    assert words in str(caught.value)
