"""The ONNX graph takes a picture as it is and gives the model's answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maskline import checkpoint
from maskline.artifacts import MODEL, PARITY
from maskline.checkpoint import Checkpoint
from maskline.components.onnx_export import deliver as room
from maskline.components.onnx_export.deliver import deliver
from maskline.components.onnx_export.export import export, finished
from maskline.components.onnx_export.parity import Graph, PictureParity, as_json, measure, require
from maskline.errors import ParityError
from maskline.models import build_model, family_of
from maskline.models.tracing import OPSET

SAID = Checkpoint({}, ("disc", "ring", "square", "triangle"), epoch=2, score=0.5, digest="d1")


def session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])


def changed(model_folder: Path, **settings: Any) -> tuple[torch.nn.Module, Checkpoint]:
    """The trained model, described with other settings."""
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    return detector, replace(described, settings={**described.settings, **settings})


@contextmanager
def moved(parameter: torch.Tensor, by: float) -> Iterator[None]:
    with torch.no_grad():
        parameter += by
        yield
        parameter -= by


def test_the_graph_explains_itself(onnx_file: Path) -> None:
    loaded = onnx.load(onnx_file)
    assert loaded.opset_import[0].version == OPSET
    image = loaded.graph.input[0]
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, shape) == ("image", ["height", "width", 3])
    assert [output.name for output in loaded.graph.output] == ["boxes", "labels", "scores", "masks"]
    facts = {p.key: p.value for p in loaded.metadata_props}
    assert json.loads(facts["classes"]) == list(SAID.classes)
    assert json.loads(facts["settings"])["min_size"] == 96
    assert (facts["data_digest"], facts["kind"], facts["normalization_inside"]) == ("d1", "picture", "true")
    assert json.loads(facts["thresholds"]) == {
        "score_threshold": 0.1,
        "max_detections": 20,
        "mask_threshold": 0.5,
    }


def test_a_file_holds_nothing_that_no_node_reads(onnx_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime warns of it in each program that loads the file."""
    session(onnx_file)
    assert "not used by any node" not in capfd.readouterr().err
    spare = onnx.load(onnx_file)
    spare.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(3), "spare"))
    session(spare)
    assert "'spare'. It is not used by any node" in capfd.readouterr().err


def test_the_answer_is_in_the_pictures_coordinates(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    answer_to = session(onnx_file)
    assert [value.name for value in answer_to.get_inputs()] == ["image"]
    found = 0
    for file in drawn_pictures:
        picture = np.asarray(Image.open(file))
        height, width = picture.shape[:2]
        boxes, labels, scores, masks = answer_to.run(None, {"image": picture})
        found += len(scores)
        assert (masks.shape, masks.dtype) == ((len(scores), height, width), np.uint8)
        assert set(np.unique(masks)) <= {0, 1}
        assert boxes.shape == (len(scores), 4)
        assert (scores > 0.1).all()
        assert ((labels >= 1) & (labels <= 4)).all()
        if len(scores):
            assert boxes[:, 2].max() <= width
            assert boxes[:, 3].max() <= height
    assert found > 0


def test_thresholds_are_inputs_with_defaults(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    answer_to = session(onnx_file)
    pictures = [np.asarray(Image.open(file)) for file in drawn_pictures]
    picture = max(pictures, key=lambda one: len(answer_to.run(["scores"], {"image": one})[0]))

    def asked(**limits: np.ndarray) -> list[np.ndarray]:
        return answer_to.run(None, {"image": picture, **limits})

    usual = asked()
    assert len(usual[2]) > 2
    middle = float(np.median(usual[2]))
    kept = asked(score_threshold=np.array(middle, np.float32))
    assert kept[2].tolist() == usual[2][usual[2] > middle].tolist()
    assert len(asked(score_threshold=np.array(1, np.float32))[3]) == 0
    assert asked(max_detections=np.array(2))[2].tolist() == usual[2][:2].tolist()
    every = asked(score_threshold=np.array(0, np.float32), max_detections=np.array(500))
    assert len(every[2]) > 20
    for small, large in zip(asked(mask_threshold=np.array(0.6, np.float32))[3], usual[3], strict=True):
        assert (small <= large).all()


def test_thresholds_are_baked_in_and_batches_taken_as_the_settings_say(
    model_folder: Path, onnx_file: Path, drawn_pictures: list[Path]
) -> None:
    """A batch is a loop of the graph's own; ONNX Runtime fuses other nodes in it, so that digits differ."""
    detector, described = changed(
        model_folder, advanced_settings='{"onnx_batch": true, "onnx_thresholds": "fixed"}'
    )
    one, batch = session(onnx_file), session(finished(export(detector, described), described))
    assert [value.name for value in batch.get_overridable_initializers()] == []
    pictures = np.stack([np.asarray(Image.open(file).resize((150, 110))) for file in drawn_pictures])
    *together, index = batch.run(None, {"images": pictures})
    assert len(index) > 0
    for place, picture in enumerate(pictures):
        boxes, labels, scores, masks = one.run(None, {"image": picture})
        theirs = [part[index == place] for part in together]
        assert labels.tolist() == theirs[1].tolist()
        np.testing.assert_allclose(boxes, theirs[0], atol=1e-3)
        np.testing.assert_allclose(scores, theirs[2], atol=1e-5)
        assert (masks != theirs[3]).sum() <= 1e-4 * masks.size
    nothing = batch.run(None, {"images": pictures[:0]})
    assert [part.shape for part in nothing] == [(0, 4), (0,), (0,), (0, 110, 150), (0,)]


def test_the_network_alone_is_azures_form(model_folder: Path, drawn_pictures: list[Path]) -> None:
    detector, described = changed(model_folder, enable_onnx_normalization=False)
    model = finished(export(detector, described), described)
    facts = {p.key: p.value for p in model.metadata_props}
    assert (facts["kind"], facts["normalization_inside"]) == ("network", "false")
    (taken,) = session(model).get_inputs()
    assert (taken.name, taken.type, taken.shape) == ("input", "tensor(float)", [1, 3, "height", "width"])
    measured = measure(detector, Graph(model.SerializeToString()), list(map(str, drawn_pictures)), 0.1)
    assert [one.breach for one in measured] == [""] * len(drawn_pictures)
    assert sum(one.detections for one in measured) > 0
    masks = session(model).run(["masks"], {"input": np.zeros((1, 3, 100, 140), np.float32)})[0]
    assert masks.shape[1:] == (1, 100, 140)


def test_model_and_graph_agree_and_a_difference_is_seen(
    model_folder: Path, onnx_file: Path, drawn_pictures: list[Path]
) -> None:
    detector: Any = checkpoint.restore(model_folder / "checkpoint.safetensors")[0]
    graph, files = Graph(onnx_file.read_bytes()), list(map(str, drawn_pictures))
    for threshold in (0.1, 0.02):
        measured = measure(detector, graph, files, threshold)
        assert [one.breach for one in measured] == [""] * len(files)
    assert sum(one.detections for one in measured) > 0
    require(measured)
    with moved(detector.roi_heads.mask_predictor.mask_fcn_logits.bias, 0.5):
        masks = measure(detector, graph, files, 0.1)
    assert any("a mask's IoU is" in one.breach for one in masks)
    with moved(detector.roi_heads.box_predictor.bbox_pred.bias, 0.05):
        assert any("boxes differ by" in one.breach for one in measure(detector, graph, files, 0.1))
    with torch.no_grad():
        detector.roi_heads.box_predictor.cls_score.weight *= 1.02
    scores = measure(detector, graph, files, 0.1)
    assert any("scores differ by" in one.breach for one in scores)
    with pytest.raises(ParityError, match=r"doesn't agree with the model on .*\.png: "):
        require(scores)


class OneDetection(torch.nn.Module):
    """A Mask R-CNN, as far as its answer goes: one small object, always in the same box."""

    def __init__(self, right: float) -> None:
        super().__init__()
        self.roi_heads, self.transform = SimpleNamespace(score_thresh=0.0), SimpleNamespace(pastes_masks=True)
        self.right = right

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        soft = torch.zeros(1, 1, 28, 28)
        soft[:, :, 6:22, 6:22] = 1
        boxes = torch.tensor([[10.5, 10.0, self.right, 24.0]])
        masks = soft
        if self.transform.pastes_masks:
            masks = paste_masks_in_image(soft, boxes, images[0].shape[-2:])
        return [
            {
                "boxes": boxes,
                "labels": torch.ones(1, dtype=torch.int64),
                "scores": torch.tensor([0.9]),
                "masks": masks,
            }
        ]


class OneAnswer:
    """The same as a graph whose box is wider by `by`, and its mask to the right by `pixels`."""

    kind, thresholds, family = "picture", {"mask_threshold": 0.5}, family_of("maskrcnn_resnet18_fpn")

    def __init__(self, by: float, pixels: int = 0, score: float = 0.9) -> None:
        self.right, self.pixels, self.score = 24.5 + by, pixels, score

    def __call__(self, picture: np.ndarray, score: float | None = None) -> dict[str, np.ndarray]:
        (found,) = OneDetection(self.right)([torch.from_numpy(picture.copy()).permute(2, 0, 1)])
        answer = {name: values.numpy() for name, values in found.items()}
        masks = (answer["masks"][:, 0] > 0.5).astype(np.uint8)
        scores = np.array([self.score], dtype=np.float32)
        return {**answer, "scores": scores, "masks": np.roll(masks, self.pixels, axis=2)}


def test_a_mask_is_judged_in_the_graphs_box_and_the_box_by_its_own_rule(tmp_path: Path) -> None:
    """torchvision cuts a box to whole pixels: a rounding error in an edge widens the mask by a pixel."""
    file = tmp_path / "made.png"
    Image.new("RGB", (60, 60)).save(file)
    detector: Any = OneDetection(24.5)
    picture = np.asarray(Image.open(file))
    narrow, wide = (OneAnswer(by)(picture)["masks"].sum() for by in (-1e-5, 1e-5))
    assert narrow < 0.9 * wide
    for by in (-1e-5, 0.0, 1e-5):
        (same,) = measure(detector, OneAnswer(by), [str(file)], 0.0)  # type: ignore[arg-type]
        assert (same.breach, same.detections, same.mask_iou) == ("", 1, 1.0)
        (other,) = measure(detector, OneAnswer(by, pixels=1), [str(file)], 0.0)  # type: ignore[arg-type]
        assert other.breach.startswith("a mask's IoU is 0.")
    (far,) = measure(detector, OneAnswer(0.5), [str(file)], 0.0)  # type: ignore[arg-type]
    assert "boxes differ by 0.5 px" in far.breach


class Rounding(torch.nn.Module):
    """One detection whose score is off by `by` in 32 bits, and right in 64."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.inner, self.by, self.weight = OneDetection(24.5), by, torch.nn.Parameter(torch.zeros(1))
        self.roi_heads, self.transform = self.inner.roi_heads, SimpleNamespace(pastes_masks=True)

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        (found,) = self.inner(images)
        off = self.by if images[0].dtype == torch.float32 else 0
        return [{**found, "scores": found["scores"] + off}]


def test_torchs_own_rounding_is_no_disagreement(tmp_path: Path) -> None:
    """Where features are large, scores in 32 bits are 1e-4 from those in 64; the graph's are nearer."""
    file = tmp_path / "made.png"
    Image.new("RGB", (60, 60)).save(file)
    for by in (0.0, 3e-4):
        detector: Any = Rounding(by)
        (near,) = measure(detector, OneAnswer(0.0), [str(file)], 0.0)  # type: ignore[arg-type]
        assert (near.breach, near.detections) == ("", 1)
        assert detector.weight.dtype == torch.float32
    (far,) = measure(Rounding(0.0), OneAnswer(0.0, score=0.9003), [str(file)], 0.0)  # type: ignore[arg-type]
    assert far.breach.startswith("scores differ by 0.0003")


def test_the_table_holds_tolerances_and_pictures() -> None:
    table = as_json(
        [PictureParity("a.png", 10, 20, 3), PictureParity("b.png", 10, 20, 2, score=0.1, breach="x")]
    )
    assert table["detections"] == 5
    assert table["tolerances"]["mask_iou"] == 0.999
    assert [picture["breach"] for picture in table["pictures"]] == ["", "x"]


def test_agreement_is_shown_at_a_lower_threshold_where_nothing_is_found(
    model_folder: Path, tiny_prepared: Path, results_folder: Path, tmp_path: Path
) -> None:
    detector, strict = changed(
        model_folder, box_score_threshold=1.0, advanced_settings='{"onnx_thresholds": "fixed"}'
    )
    (tmp_path / "model").mkdir()
    checkpoint.save(tmp_path / "model/checkpoint.safetensors", detector, strict)
    deliver(tiny_prepared, tmp_path / "model", results_folder, tmp_path / "out")
    table = json.loads((tmp_path / "out" / PARITY).read_text())
    assert table["score_threshold"] == 0.001
    assert table["detections"] > 0
    picture = np.asarray(Image.open(table["pictures"][0]["file"]))
    graph = Graph((tmp_path / "out" / MODEL).read_bytes())
    assert graph.open == set()
    assert len(graph(picture)["scores"]) == 0


def test_disagreement_fails_the_stage_and_leaves_the_table(
    model_folder: Path,
    tiny_prepared: Path,
    results_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = PictureParity("one.png", 64, 64, 2, breach="scores differ by 0.3, allowed 0.0001")
    monkeypatch.setattr(room, "measure", lambda *_: [bad])
    with pytest.raises(ParityError, match=r"on one.png: scores differ by 0.3"):
        deliver(tiny_prepared, model_folder, results_folder, tmp_path)
    assert json.loads((tmp_path / PARITY).read_text())["pictures"][0]["breach"]


def test_even_an_untrained_model_agrees_on_real_pictures(shared_data: Path) -> None:
    """Its scores all but tie, so that the least difference in size or ranking shows."""
    torch.manual_seed(0)
    chosen = {"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 320, "max_size": 640}
    described = replace(SAID, settings=chosen, classes=("a", "b", "c"))
    detector = build_model(described.training_settings, 3).eval()
    graph = Graph(finished(export(detector, described), described).SerializeToString())
    folder = shared_data / "coco_crowd/images"
    files = [str(folder / f"{name:012d}.jpg") for name in (30, 71, 72)]
    measured = measure(detector, graph, files, 0.0)
    assert [(one.detections, one.breach) for one in measured] == [(100, "")] * 3


@pytest.mark.parametrize("regions", [0, 1, 50])
def test_regions_by_position_are_pooled_level_by_level(regions: int) -> None:
    """The order holds every region once, and what the levels give stands in it as torchvision merges it."""
    from torchvision.ops import poolers

    from maskline.models.maskrcnn_graph import by_position
    from maskline.models.region_features import GatheredRoIAlign

    torch.manual_seed(0)
    pool = GatheredRoIAlign(["0", "1", "2", "3"], 7, 2)
    pool.know_scales()
    assert pool.map_levels is not None
    boxes = torch.rand(regions, 2).repeat(1, 2) * 400
    boxes[:, 2:] += torch.rand(regions, 2) * torch.rand(regions, 1) * 900
    order = by_position(pool, boxes)
    assert order.sort().values.tolist() == list(range(regions))
    levels = pool.map_levels([boxes[order]])
    assert regions < 50 or len(levels.unique()) == 4
    pooled = [torch.rand(int((levels == level).sum()), 8, 7, 7) for level in range(4)]
    assert torch.equal(torch.cat(pooled), poolers._onnx_merge_levels(levels, pooled))


@pytest.mark.parametrize("objects", [0, 1, 9])
def test_masks_of_the_own_class_are_torchvisions(objects: int) -> None:
    from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
    from torchvision.models.detection.roi_heads import maskrcnn_inference

    from maskline.models.maskrcnn_graph import of_own_class

    torch.manual_seed(0)
    predictor = MaskRCNNPredictor(16, 8, 5).eval()
    regions, labels = torch.randn(objects, 16, 14, 14), torch.arange(objects) % 4 + 1
    with torch.inference_mode():
        (expected,) = maskrcnn_inference(predictor(regions), [labels])
        found = of_own_class(predictor, regions, labels)
    assert expected.numel() == 0 or expected.std() > 0.01
    torch.testing.assert_close(found, expected[:, 0], atol=1e-6, rtol=0)


def test_no_layer_s_values_are_scattered(onnx_file: Path) -> None:
    kinds = [node.op_type for node in onnx.load(onnx_file).graph.node]
    assert kinds.count("RoiAlign") == 8
    assert "ScatterElements" not in kinds
