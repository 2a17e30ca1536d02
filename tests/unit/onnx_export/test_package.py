"""The folder in which a model leaves: complete, without a pickle, and MLflow serves it."""

import base64
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from maskline import checkpoint
from maskline.answers import azure
from maskline.components.onnx_export.deliver import deliver
from maskline.errors import DataError
from maskline.inference import predict
from maskline.mlflow_model import PyfuncModel, _load_pyfunc
from maskline.onnx_model import OnnxModel
from maskline.tile_answers import tiled
from maskline.tiling import Tiling

FILES = {
    "model.onnx", "parity.json", "checkpoint.safetensors", "labels.json", "settings.json", "metrics.json",
    "README.md", "MLmodel", "requirements.txt", "python_env.yaml", "conda.yaml",
}  # fmt: skip


@pytest.fixture(scope="module")
def best_model(
    model_folder: Path, tiny_prepared: Path, results_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder with an int8 graph beside which fp32 is measured."""
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    folder = tmp_path_factory.mktemp("int8")
    told = {**described.settings, "advanced_settings": '{"onnx_precision": "int8"}'}
    checkpoint.save(folder / "checkpoint.safetensors", detector, replace(described, settings=told))
    out = folder / "best_model"
    deliver(tiny_prepared, folder, results_folder, out)
    return out


def test_all_is_there_and_nothing_is_a_pickle(best_model: Path) -> None:
    files = {file.name for file in best_model.iterdir()}
    assert files == FILES
    for file in best_model.iterdir():
        assert not file.name.endswith((".pkl", ".pt", ".pth"))
    settings = json.loads((best_model / "settings.json").read_text())
    assert settings["inference"]["box_score_thresh"] == 0.1
    assert json.loads((best_model / "labels.json").read_text()) == ["disc", "ring", "square", "triangle"]
    assert checkpoint.describe(best_model / "checkpoint.safetensors").digest == "d1"
    assert json.loads((best_model / "metrics.json").read_text())["split"] == "validation"


def test_8_bits_keep_from_the_layers_whose_errors_all_others_inherit(best_model: Path) -> None:
    graph = onnx.load(best_model / "model.onnx").graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    layers = {node.name: node for node in graph.node if node.op_type in ("Conv", "Gemm")}
    in_8_bits = {name for name, node in layers.items() if made_by.get(node.input[1]) == "DequantizeLinear"}
    fine = ("/rpn/", "/body/conv1/", "/body/layer1/", "/fpn/inner_blocks", "/box_predictor/")
    assert in_8_bits == {name for name in layers if not any(part in name for part in fine)}
    assert len(in_8_bits) > len(layers) / 3
    read_by = {name: node.op_type for node in graph.node for name in node.input}
    answers = {read_by[node.output[0]] for node in layers.values() if node.op_type == "Gemm"}
    assert "QuantizeLinear" not in answers


def test_int8_stands_beside_fp32(best_model: Path, onnx_file: Path, drawn_pictures: list[Path]) -> None:
    small = best_model / "model.onnx"
    assert small.stat().st_size < 0.35 * onnx_file.stat().st_size
    facts = OnnxModel(small).facts
    assert (facts["precision"], facts["kind"]) == ("int8", "picture")
    kinds = {node.op_type for node in onnx.load(small).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    layers = [node for node in onnx.load(small).graph.node if node.op_type in ("Conv", "Gemm")]
    coarse_layers = {node.name for node in layers if "DequantizeLinear" in node.input[1]}
    assert {node.name for node in layers if "/rpn/" in node.name}.isdisjoint(coarse_layers)
    assert any("/backbone/" in name for name in coarse_layers)
    rows = [line.split("|") for line in (best_model / "README.md").read_text().splitlines()]
    table = {row[1].strip(): row for row in rows if len(row) > 7 and row[1].strip() in ("fp32", "int8")}
    assert "delivered" in table["int8"][7]
    assert "delivered" not in table["fp32"][7]
    for row in table.values():
        assert 0 <= float(row[5]) <= 1
    pairs = zip(predict(onnx_file, drawn_pictures), predict(small, drawn_pictures), strict=True)
    for exact, coarse in pairs:
        assert exact.detections is not None
        assert coarse.detections is not None
        if len(exact.detections) and len(coarse.detections):
            assert abs(exact.detections.scores[0] - coarse.detections.scores[0]) < 0.2


def test_fewer_regions_stand_beside_all(
    model_folder: Path, tiny_prepared: Path, results_folder: Path, tmp_path: Path, onnx_file: Path
) -> None:
    """The graph agrees with a model that has as many, and can find no more than these."""
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    told = {**described.settings, "advanced_settings": '{"onnx_proposals": 3}'}
    (tmp_path / "model").mkdir()
    checkpoint.save(tmp_path / "model/checkpoint.safetensors", detector, replace(described, settings=told))
    out = tmp_path / "best_model"
    deliver(tiny_prepared, tmp_path / "model", results_folder, out)
    rows = [line.split("|") for line in (out / "README.md").read_text().splitlines()]
    table = [[cell.strip() for cell in row] for row in rows if len(row) > 7 and row[1].strip() == "fp32"]
    assert [(row[2], row[7]) for row in table] == [("the model's own", ""), ("3", "delivered")]
    assert all(0 <= float(row[5]) <= 1 for row in table)
    parity = json.loads((out / "parity.json").read_text())
    assert parity["detections"] > 0
    pictures = [np.asarray(Image.open(one["file"])) for one in parity["pictures"]]
    few, every = OnnxModel(out), OnnxModel(onnx_file)
    low = {"score_threshold": 0.0, "max_detections": 100}
    counts = [(len(few(picture, low)), len(every(picture, low))) for picture in pictures]
    assert all(0 < one <= 3 * 4 for one, _ in counts)  # a region is one object of each class at the most
    assert any(other > 3 * 4 for _, other in counts)


def test_the_card_tells_numbers_data_limits_and_terms(best_model: Path) -> None:
    card = (best_model / "README.md").read_text()
    numbers = json.loads((best_model / "metrics.json").read_text())
    assert f"| AP50 | {numbers['mask']['AP50']:.3f} | {numbers['box']['AP50']:.3f} |" in card
    assert all(
        f"| {name} |" in card for name in ("disc", "ring", "square", "triangle", "train", "validation")
    )
    assert "Training started from scratch" in card
    assert "## Limits" in card
    assert "Undefined" not in card
    assert "maskline predict" in card


def test_the_card_of_the_network_alone_names_no_command_that_refuses_it(
    model_folder: Path, tiny_prepared: Path, results_folder: Path, tmp_path: Path
) -> None:
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    told = {**described.settings, "enable_onnx_normalization": False}
    checkpoint.save(tmp_path / "checkpoint.safetensors", detector, replace(described, settings=told))
    deliver(tiny_prepared, tmp_path, results_folder, tmp_path / "best_model")
    card = (tmp_path / "best_model/README.md").read_text()
    assert "float32, 1 × 3 × height × width" in card
    assert "maskline predict" not in card
    assert not (tmp_path / "best_model/MLmodel").exists()


def test_mlflow_answers_azures_requests(best_model: Path, drawn_pictures: list[Path]) -> None:
    mlflow = pytest.importorskip("mlflow.pyfunc")
    import pandas as pd

    before = set(sys.modules)
    loaded = mlflow.load_model(str(best_model))
    raw = [file.read_bytes() for file in drawn_pictures]
    request = {"input_data": {"columns": ["image"], "data": [base64.b64encode(one).decode() for one in raw]}}
    frame = pd.DataFrame(request["input_data"]["data"], columns=request["input_data"]["columns"])
    answers = loaded.predict(frame)
    assert len(answers) == len(raw)
    assert sum(len(answer["boxes"]) for answer in answers) > 0
    assert set(answers[0]) == {"boxes"}
    assert loaded.predict(pd.DataFrame({"image": raw})) == answers
    assert PyfuncModel(OnnxModel(best_model)).predict(request) == answers
    few = loaded.predict(frame, params={"max_detections": 1})
    assert [len(answer["boxes"]) for answer in few] == [min(1, len(a["boxes"])) for a in answers]
    assert "maskline.prediction" not in set(sys.modules) - before


def test_mlflow_looks_at_the_tiles_too(tiled_file: Path, drawn_pictures: list[Path]) -> None:
    model, file = OnnxModel(tiled_file), drawn_pictures[3]
    pixels = np.asarray(Image.open(file))
    expected = azure(tiled(model.whole, pixels, Tiling(2, 1, 0.1), most=20))
    request = {"input_data": {"columns": ["image"], "data": [base64.b64encode(file.read_bytes()).decode()]}}
    assert _load_pyfunc(str(tiled_file)).predict(request) == [expected]
    assert expected != azure(model.whole(pixels))


def test_mlflow_s_files_name_this_version(best_model: Path) -> None:
    described = yaml.safe_load((best_model / "MLmodel").read_text())
    flavor = described["flavors"]["python_function"]
    assert flavor["loader_module"] == "maskline.mlflow_model"
    assert "python_model" not in flavor
    assert (best_model / flavor["data"]).exists()
    assert "maskline[mlflow]==" in (best_model / "requirements.txt").read_text()


def test_requests_that_hold_no_picture_are_refused(onnx_file: Path) -> None:
    model = PyfuncModel(OnnxModel(onnx_file))

    def asked(*data: object) -> dict[str, object]:
        return {"input_data": {"columns": ["image"], "data": list(data)}}

    for request, reason in (
        ({"inputs": []}, "holds no pictures"),
        (asked("%%%"), "is no base64"),
        (asked(3), "given as int"),
        (asked(base64.b64encode(b"text").decode()), "row 0: .* can't be read as a picture"),
    ):
        with pytest.raises(DataError, match=reason):
            model.predict(request)
    assert model.predict(asked()) == []


def test_fp16_halves_the_file(
    model_folder: Path, onnx_file: Path, tiny_prepared: Path, tmp_path: Path, drawn_pictures: list[Path]
) -> None:
    from maskline.components.onnx_export.export import export
    from maskline.components.onnx_export.variants import Form, converted, save
    from maskline.dataset import PreparedDataset

    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    half = converted(export(detector, described), "fp16", PreparedDataset.read(tiny_prepared))
    assert save(Form(half, "fp16"), described, tmp_path / "model.onnx") < 0.55 * onnx_file.stat().st_size
    pairs = zip(predict(onnx_file, drawn_pictures), predict(tmp_path, drawn_pictures), strict=True)
    for exact, coarse in pairs:
        assert exact.detections is not None
        assert coarse.detections is not None
        assert abs(len(exact.detections) - len(coarse.detections)) <= 2
        if len(exact.detections):
            np.testing.assert_allclose(exact.detections.scores[0], coarse.detections.scores[0], atol=0.01)
    assert Image.open(drawn_pictures[0]).size == (96, 96)
