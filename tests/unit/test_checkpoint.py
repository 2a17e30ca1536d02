"""A checkpoint is a model again, and says what it is."""

from pathlib import Path

import pytest
import torch

from maskline import checkpoint
from maskline.checkpoint import Checkpoint
from maskline.errors import CheckpointError
from maskline.models import build_model
from maskline.settings import complete

CHOSEN = {"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 64, "max_size": 64}
SAID = Checkpoint(CHOSEN, ("ant", "bee"), epoch=3, score=0.25, metrics={"mask_AP": 0.25}, digest="d1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    checkpoint.save(path, build_model(complete(CHOSEN), 2), SAID)
    return path


def test_round_trip(saved: Path) -> None:
    model, said = checkpoint.restore(saved)
    torch.manual_seed(1)
    original = build_model(complete(CHOSEN), 2).eval()
    picture = [torch.rand(3, 64, 64)]
    assert said == SAID
    assert said.training_settings == complete(CHOSEN)
    with torch.inference_mode():
        assert torch.equal(model(picture)[0]["masks"], original(picture)[0]["masks"])


def test_no_part_of_a_file_is_left_beside_it(saved: Path) -> None:
    assert [file.name for file in saved.parent.iterdir()] == ["best.safetensors"]


def test_damage_is_named(saved: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(saved.read_bytes()[:1000])
    for path in (torn, tmp_path / "missing.safetensors"):
        with pytest.raises(CheckpointError, match=f"{path.name} is no checkpoint of Maskline"):
            checkpoint.restore(path)


def test_a_checkpoint_of_other_classes_does_not_fit(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    checkpoint.save(other, build_model(complete(CHOSEN), 2), Checkpoint(CHOSEN, ("a", "b", "c"), 1))
    with pytest.raises(CheckpointError, match="doesn't fit MaskRCNN"):
        checkpoint.restore(other)
