"""The ONNX graph takes a picture as it is and gives the model's answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from maskline import checkpoint
from maskline.artifacts import MODEL, PARITY
from maskline.checkpoint import Checkpoint
from maskline.components.onnx_export import deliver as room
from maskline.components.onnx_export.deliver import deliver
from maskline.components.onnx_export.export import export, picture_model
from maskline.components.onnx_export.parity import Graph, PictureParity, as_json, measure, require
from maskline.dataset import PreparedDataset
from maskline.errors import ParityError
from maskline.loading import collate
from maskline.models import build_model
from maskline.sample_data import write_sample_data
from maskline.settings import complete
from maskline.training_data import TrainingDataset

CHOSEN = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 96,
    "max_size": 160,
    "box_score_threshold": 0.1,
    "box_detections_per_image": 20,
}
SAID = Checkpoint(CHOSEN, ("disc", "ring", "square", "triangle"), epoch=2, score=0.5, digest="d1")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tiny_prepared: Path) -> Path:
    """A model as trial_selection leaves it, trained for a few steps: with an untrained one, order is luck."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(4)
    torch.set_num_threads(1)
    model = build_model(complete(CHOSEN), 4).train()
    data = TrainingDataset(PreparedDataset.read(tiny_prepared).coco("train"), complete(CHOSEN))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(36):
        pictures, targets = collate([data[(3 * step + i) % len(data)] for i in range(3)])
        optimizer.zero_grad()
        sum(model(pictures, targets).values()).backward()
        optimizer.step()
    checkpoint.save(folder / "checkpoint.safetensors", model, SAID)
    (folder / "labels.json").write_text(json.dumps(SAID.classes))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    write_sample_data(folder / "data", pictures=10, size=128)
    drawn = sorted((folder / "data/train/images").iterdir())
    for file, (width, height) in zip(drawn, ((96, 96), (200, 120), (61, 170), (320, 240)), strict=False):
        path = folder / f"{width}x{height}.png"
        Image.open(file).resize((width, height)).save(path)
        found.append(str(path))
    return found


@pytest.fixture(scope="module")
def graph(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    export(picture_model(detector, described.training_settings, 0.1), described, path)
    return path


def test_the_graph_explains_itself(graph: Path) -> None:
    loaded = onnx.load(graph)
    assert loaded.opset_import[0].version >= 17
    (image,) = loaded.graph.input
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, shape) == ("image", ["height", "width", 3])
    assert [output.name for output in loaded.graph.output] == ["boxes", "labels", "scores", "masks"]
    facts = {p.key: p.value for p in loaded.metadata_props}
    assert json.loads(facts["classes"]) == list(SAID.classes)
    assert json.loads(facts["settings"]) == CHOSEN
    assert facts["data_digest"] == "d1"


def test_the_answer_is_in_the_pictures_coordinates(graph: Path, pictures: list[str]) -> None:
    answer_to = Graph(graph)
    found = 0
    for file in pictures:
        picture = np.asarray(Image.open(file))
        height, width = picture.shape[:2]
        answer = answer_to(picture)
        count = len(answer["scores"])
        found += count
        assert answer["masks"].shape == (count, height, width)
        assert answer["masks"].dtype == np.uint8
        assert set(np.unique(answer["masks"])) <= {0, 1}
        assert answer["boxes"].shape == (count, 4)
        assert (answer["scores"] >= 0.1).all()
        if count:
            assert answer["boxes"][:, 2].max() <= width
            assert answer["boxes"][:, 3].max() <= height
    assert found > 0


def test_model_and_graph_agree_and_a_difference_is_seen(
    model_folder: Path, graph: Path, pictures: list[str]
) -> None:
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    model = picture_model(detector, described.training_settings, 0.1)
    measured = measure(model, Graph(graph), pictures, 0.1)
    assert [one.breach for one in measured] == [""] * len(pictures)
    assert sum(one.detections for one in measured) > 0
    require(measured)

    with torch.no_grad():
        detector.roi_heads.mask_predictor.mask_fcn_logits.bias += 0.5
    masks = measure(model, Graph(graph), pictures, 0.1)
    assert any("a mask's IoU is" in one.breach for one in masks)
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight *= 1.02
    scores = measure(model, Graph(graph), pictures, 0.1)
    assert any("scores differ by" in one.breach for one in scores)
    with pytest.raises(ParityError, match=r"doesn't agree with the model on .*\.png: "):
        require(scores)


def test_the_table_holds_tolerances_and_pictures() -> None:
    table = as_json(
        [PictureParity("a.png", 10, 20, 3), PictureParity("b.png", 10, 20, 2, score=0.1, breach="x")]
    )
    assert table["detections"] == 5
    assert table["tolerances"]["mask_iou"] == 0.999
    assert [picture["breach"] for picture in table["pictures"]] == ["", "x"]


def test_delivery(model_folder: Path, tiny_prepared: Path, tmp_path: Path) -> None:
    deliver(tiny_prepared, model_folder, tmp_path)
    assert json.loads((tmp_path / "labels.json").read_text()) == list(SAID.classes)
    assert (tmp_path / MODEL).stat().st_size > 1_000_000
    assert len(json.loads((tmp_path / PARITY).read_text())["pictures"]) == 3


def test_agreement_is_shown_at_a_lower_threshold_where_nothing_is_found(
    model_folder: Path, tiny_prepared: Path, tmp_path: Path
) -> None:
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    strict = replace(described, settings={**CHOSEN, "box_score_threshold": 1.0})
    (tmp_path / "model").mkdir()
    checkpoint.save(tmp_path / "model/checkpoint.safetensors", detector, strict)
    (tmp_path / "model/labels.json").write_text("[]")
    deliver(tiny_prepared, tmp_path / "model", tmp_path / "out")
    table = json.loads((tmp_path / "out" / PARITY).read_text())
    assert table["score_threshold"] == 0.001
    assert table["detections"] > 0
    assert [file.name for file in sorted((tmp_path / "out").iterdir())] == ["labels.json", MODEL, PARITY]
    picture = np.asarray(Image.open(table["pictures"][0]["file"]))
    assert len(Graph(tmp_path / "out" / MODEL)(picture)["scores"]) == 0


def test_disagreement_fails_the_stage_and_leaves_the_table(
    model_folder: Path, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = PictureParity("one.png", 64, 64, 2, breach="scores differ by 0.3, allowed 0.0001")
    monkeypatch.setattr(room, "measure", lambda *_: [bad])
    with pytest.raises(ParityError, match=r"on one.png: scores differ by 0.3"):
        deliver(tiny_prepared, model_folder, tmp_path)
    assert json.loads((tmp_path / PARITY).read_text())["pictures"][0]["breach"]


def test_even_an_untrained_model_agrees_on_real_pictures(shared_data: Path, tmp_path: Path) -> None:
    """Its scores all but tie, so that the least difference in size or ranking shows."""
    torch.manual_seed(0)
    settings = complete({"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 320, "max_size": 640})
    model = picture_model(build_model(settings, 3), settings, 0.0)
    export(model, SAID, tmp_path / "noise.onnx")
    folder = shared_data / "coco_crowd/images"
    files = [str(folder / f"{name:012d}.jpg") for name in (30, 71, 72)]
    measured = measure(model, Graph(tmp_path / "noise.onnx"), files, 0.0)
    assert [(one.detections, one.breach) for one in measured] == [(100, "")] * 3
