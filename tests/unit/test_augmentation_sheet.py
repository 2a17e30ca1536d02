"""The page of augmented pictures."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskline import Input, automl
from maskline.augmentation_sheet import write_sheet
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.dataset import PreparedDataset
from maskline.errors import JobError
from maskline.overlay import class_colours, jpeg_uri
from maskline.pipelines.cli import app
from maskline.sample_data import write_sample_data
from maskline.settings import TrainingSettings, complete
from maskline.training_data import TrainingDataset

LIGHT = {"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 64, "max_size": 64}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_data(tmp_path_factory.mktemp("sheet") / "data", pictures=15, size=64)


@pytest.fixture(scope="module")
def prepared(drawn: Path) -> PreparedDataset:
    parts = (Source(str(drawn / name), "mltable") for name in ("train", "validation"))
    return prepare(*parts, out=drawn.parent / "prepared")


def sheet(prepared: PreparedDataset, settings: TrainingSettings, page: Path) -> str:
    write_sheet(prepared, settings, page, pictures=3, draws=2, seed=7)
    return page.read_text(encoding="utf-8")


def test_it_shows_what_a_training_with_that_seed_sees(prepared: PreparedDataset, tmp_path: Path) -> None:
    from maskline.augmentation_sheet import _drawn

    settings = complete({**LIGHT, "advanced_settings": '{"copy_paste": 1.0}'})
    text = sheet(prepared, settings, tmp_path / "sheet.html")
    shown = re.findall(r'<img src="([^"]+)" alt="(\d+\.png), epoch 2', text)
    assert len(shown) == 3
    assert text.count("<img") == 3 * 3
    coco = prepared.coco("train")
    seen = TrainingDataset(coco, settings, augment=True, seed=7)
    seen.set_epoch(2)
    names = dict(enumerate(prepared.classes, start=1))
    for uri, name in shown:
        place = next(i for i, one in enumerate(coco["images"]) if Path(one["file_name"]).name == name)
        assert uri == jpeg_uri(_drawn(seen[place], class_colours(len(names)), names))


def test_without_augmentation_every_epoch_is_the_picture_as_prepared(
    prepared: PreparedDataset, tmp_path: Path
) -> None:
    settings = complete({**LIGHT, "advanced_settings": '{"apply_automl_train_augmentations": false}'})
    text = sheet(prepared, settings, tmp_path / "sheet.html")
    assert "apply_automl_train_augmentations is false" in text
    for name in set(re.findall(r'alt="(\d+\.png)', text)):
        assert len(set(re.findall(rf'<img src="([^"]+)" alt="{name}', text))) == 1


def test_the_command(drawn: Path, tmp_path: Path) -> None:
    job = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path=str(drawn / "train")), target_column_name="label"
    )
    job.set_training_parameters(**LIGHT, random_seed=4, advanced_settings='{"pretrained_weights": "none"}')
    job.dump(tmp_path / "job.yaml")
    done = CliRunner().invoke(
        app, ["augmentations", str(tmp_path / "job.yaml"), "-o", str(tmp_path / "a.html")]
    )
    assert done.exit_code == 0, done.output
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "a training with seed 4" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    refused = CliRunner().invoke(app, ["augmentations", str(tmp_path / "job.yaml"), "-o", "sheet.png"])
    assert isinstance(refused.exception, JobError)
    assert str(refused.exception) == "--output sheet.png must end in .html"
