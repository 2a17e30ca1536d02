"""Prediction with the delivered file: without torch, as the graph says, one bad picture alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

import maskline
from maskline import onnx_wire
from maskline.errors import DataError, ModelFileError
from maskline.onnx_model import SOFT_MASKS, OnnxModel
from maskline.tiling import Tiling

SLIM = """
import sys
for name in {lacking}: sys.modules[name] = None
import maskline
for answer in maskline.predict({model!r}, [{picture!r}]): print(len(answer.detections))
from maskline import answers, answer_files
print(len(answers.azure(answer.detections)["boxes"]))
"""
LACKING = (
    "torch", "torchvision", "onnx", "pycocotools", "matplotlib", "pydantic", "yaml", "kfp", "optuna",
    "jinja2", "fsspec", "kubernetes", "safetensors", "scipy", "pandas", "rich",
)  # fmt: skip


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "maskline.pipelines.cli", "predict", *map(str, words)],
        capture_output=True,
        text=True,
    )


def test_it_is_the_graphs_answer(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    answers = list(maskline.predict(onnx_file, drawn_pictures))
    assert [answer.name for answer in answers] == list(map(str, drawn_pictures))
    for answer, file in zip(answers, drawn_pictures, strict=True):
        boxes, labels, scores, masks = session.run(None, {"image": np.asarray(Image.open(file))})
        found = answer.detections
        assert found is not None
        np.testing.assert_allclose(found.boxes, boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)
        assert found.labels.tolist() == labels.tolist()
        differing = sum(int((found.mask(i) != masks[i]).sum()) for i in range(len(found)))
        assert differing <= 1e-4 * masks.size
    assert sum(len(answer.detections or ()) for answer in answers) > 2


def test_limits_are_asked_for_or_refused(onnx_file: Path, drawn_pictures: list[Path], tmp_path: Path) -> None:
    model = OnnxModel(onnx_file)
    counts = [
        sum(len(answer.detections or ()) for answer in maskline.predict(model, drawn_pictures, **limits))
        for limits in (
            {"score_threshold": 0.0, "max_detections": 100},
            {"max_detections": 100},
            {"max_detections": 1},
            {"score_threshold": 1.0},
        )
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[1] > counts[2] > counts[3] == 0
    for limits in ({"score_threshold": 1.1}, {"max_detections": 0}, {"max_detections": 1.5}, {"iou": 0.5}):
        with pytest.raises(ModelFileError, match="="):
            maskline.predict(model, drawn_pictures, **limits)
    opened = onnx.load(onnx_file)
    del opened.graph.input[1:]
    onnx.save(opened, tmp_path / "model.onnx")
    baked = OnnxModel(tmp_path)
    with pytest.raises(ModelFileError, match=r"score_threshold=0.5 can't be asked for: 0.1 is baked into"):
        maskline.predict(baked, drawn_pictures, score_threshold=0.5)
    before = [answer.detections for answer in maskline.predict(model, drawn_pictures)]
    for one, other in zip(before, maskline.predict(baked, drawn_pictures), strict=True):
        assert one is not None
        assert other.detections is not None
        np.testing.assert_allclose(one.scores, other.detections.scores, atol=1e-5)


def test_a_large_picture_leaves_no_memory_behind(onnx_file: Path) -> None:
    def held() -> int:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line)
        return int(line.split()[1]) * 1024

    model = OnnxModel(onnx_file, threads=1)
    picture = np.zeros((3000, 4000, 3), dtype=np.uint8)
    model(picture[:400, :400].copy())
    picture += 1  # so that its own memory is there
    before = held()
    model(picture)
    assert held() - before < 64 << 20


def test_bytes_arrays_and_folders_are_pictures(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    file = drawn_pictures[3]
    array = np.asarray(Image.open(file))
    forms = [file, str(file), file.read_bytes(), array]
    found = [answer.detections for answer in maskline.predict(onnx_file, forms)]
    assert len({tuple(one.scores.round(4).tolist()) for one in found if one is not None}) == 1
    several = list(maskline.predict(onnx_file, file.parent))
    assert len(several) == 14  # ten drawn, four resized
    (refused,) = maskline.predict(onnx_file, array.astype(float))
    assert "give uint8 (height, width, 3)" in refused.error
    with pytest.raises(DataError, match="holds no picture"):
        list(maskline.predict(onnx_file, onnx_file.parent))


def test_a_stream_is_not_read_ahead_of_its_answers(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    taken = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal taken
        while True:
            taken += 1
            yield drawn_pictures[0]

    stream = maskline.predict(onnx_file, endless(), workers=2)
    for _ in range(5):
        next(stream)
    assert taken <= 10
    stream.close()  # type: ignore[attr-defined]


def test_odd_pictures_are_answered_or_named(onnx_file: Path, odd: Path) -> None:
    turned = [
        answer.detections for answer in maskline.predict(onnx_file, sorted(odd.glob("exif_orient_*.jpg")))
    ]
    assert len(turned) == 8
    assert {(found.width, found.height) for found in turned if found is not None} == {(320, 240)}
    answers = {Path(answer.name).name: answer for answer in maskline.predict(onnx_file, odd)}
    broken = {name for name, answer in answers.items() if answer.detections is None}
    assert broken == {
        "truncated.jpg", "truncated.png", "bad_crc.png", "empty.jpg", "html_as.jpg",
        "huge_header_60000x60000.png", "bomb_12000x12000.png",
    }  # fmt: skip
    assert all(name in answers[name].error for name in broken)
    assert len(answers) > 50


def test_the_command_goes_on_after_broken_pictures(onnx_file: Path, odd: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    names = (
        "truncated.jpg",
        "gray.jpg",
        "exif_orient_6.jpg",
        "palette.png",
        "bomb_12000x12000.png",
        "html_as.jpg",
    )
    for name in names:
        (tmp_path / "in" / name).write_bytes((odd / name).read_bytes())
    done = command(onnx_file, tmp_path / "in", tmp_path / "absent.png")
    assert done.returncode == 3
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert [one["filename"] for one in lines] == ["exif_orient_6.jpg", "gray.jpg", "palette.png"]
    assert "truncated.jpg" in done.stderr
    assert "absent.png' is not there" in done.stderr
    assert "html_as.jpg' can't be read as a picture: its format is none of JPEG, PNG" in done.stderr
    assert "bomb_12000x12000.png' has 12000x12000 pixels" in done.stderr
    assert "4 of 7 pictures could not be read" in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())


@pytest.mark.parametrize("form", ["azure", "coco", "labelme", "png"])
def test_the_command_writes_every_form(
    form: str, onnx_file: Path, drawn_pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = command(onnx_file, *drawn_pictures[2:], "--format", form, "--out", out, "--overlay")
    assert done.returncode == 0, done.stderr
    files = {file.name for file in out.iterdir()}
    kinds = {
        "azure": {"predictions.jsonl"},
        "coco": {"predictions.json"},
        "labelme": {"61x170.json", "320x240.json"},
        "png": {"61x170.json", "320x240.json", "61x170.png", "320x240.png"},
    }
    assert files == kinds[form] | {"61x170.overlay.jpg", "320x240.overlay.jpg"}
    assert Image.open(out / "320x240.overlay.jpg").size == (320, 240)


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("--format", "png"), "61x170.png"),
        (("--format", "labelme"), "61x170.json"),
        (("--format", "coco"), "predictions.json"),
        (("--overlay",), "61x170.overlay.jpg"),
    ],
)
def test_the_command_overwrites_nothing(
    words: tuple[str, ...], file: str, onnx_file: Path, drawn_pictures: list[Path], tmp_path: Path
) -> None:
    picture = tmp_path / "61x170.png"
    picture.write_bytes(drawn_pictures[2].read_bytes())
    if not (tmp_path / file).exists():
        (tmp_path / file).write_text("made by hand")
    before = (tmp_path / file).read_bytes()
    done = command(onnx_file, picture, "--out", tmp_path, *words)
    assert (done.returncode, (tmp_path / file).read_bytes()) == (1, before)
    assert (
        done.stderr
        == f"error: {tmp_path / file} is there already; choose another --out, or remove them first\n"
    )
    assert len(list(tmp_path.iterdir())) == (1 if file == picture.name else 2)


def test_what_is_no_model_is_refused(tmp_path: Path, drawn_pictures: list[Path]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model at all")
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    onnx.save(foreign, tmp_path / "foreign.onnx")
    (tmp_path / "empty.onnx").touch()
    for name, classes in (("half", '["nut"]'), ("garbled", "nut"), ("number", "5")):
        onnx.helper.set_model_props(foreign, {"kind": "picture", "classes": classes})
        onnx.save(foreign, tmp_path / f"{name}.onnx")
    for path, reason in (
        (tmp_path / "absent.onnx", "can't be read"),
        (tmp_path, "is no ONNX file"),
        (tmp_path / "foreign.onnx", "is no model of Maskline"),
        (tmp_path / "empty.onnx", "is no model of Maskline"),
        (tmp_path / "half.onnx", "is no model of Maskline"),
        (tmp_path / "garbled.onnx", "is no model of Maskline"),
        (tmp_path / "number.onnx", "is no model of Maskline"),
    ):
        with pytest.raises(ModelFileError, match=reason):
            OnnxModel(path)
    done = command(tmp_path / "absent.onnx", drawn_pictures[0])
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert command(tmp_path, drawn_pictures[0], "--format", "png").returncode == 2


def test_a_model_is_read_from_what_no_memory_is_mapped_to(onnx_file: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = Thread(target=(tmp_path / "pipe").write_bytes, args=(onnx_file.read_bytes(),))
    writer.start()
    assert OnnxModel(tmp_path / "pipe").facts == OnnxModel(onnx_file).facts
    writer.join()


@pytest.mark.parametrize("before", [0, 1], ids=["a letter of a name", "its length"])
def test_a_damaged_file_is_named(onnx_file: Path, tmp_path: Path, before: int) -> None:
    data = bytearray(onnx_file.read_bytes())
    data[data.index(SOFT_MASKS.encode()) - before] = 0xFF
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"model\.onnx is damaged: .*; copy or export it anew"):
        OnnxModel(tmp_path)


@pytest.mark.parametrize("instead", [None, ("masks", SOFT_MASKS)])
def test_weights_are_left_where_they_lie(onnx_file: Path, instead: tuple[str, str] | None) -> None:
    data = onnx_file.read_bytes()
    model, weights = onnx_wire.parts(data, instead)
    held = {
        numpy_helper.to_array(tensor).tobytes()
        for tensor in onnx.load(onnx_file).graph.initializer
        if len(tensor.raw_data) >= 1024
    }
    assert {bytes(view) for view in weights.values()} == held
    assert all(view.obj is data for view in weights.values())
    assert len(model) + sum(map(len, weights.values())) < 1.05 * len(data)


def test_an_onnxruntime_that_is_too_old_is_named(onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "SessionOptions", object)
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    with pytest.raises(ModelFileError, match=r"onnxruntime 1\.23\.2 is too old; 1\.24\.1 or later"):
        OnnxModel(onnx_file)


def test_onnxruntime_numpy_and_pillow_are_enough(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    script = SLIM.format(lacking=LACKING, model=str(onnx_file), picture=str(drawn_pictures[3]))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0


def test_the_command_needs_only_typer_and_rich_beside_them(
    onnx_file: Path, drawn_pictures: list[Path], tmp_path: Path
) -> None:
    lacking = tuple(name for name in LACKING if name not in ("rich", "pydantic"))  # which typer needs
    words = ["predict", str(onnx_file), str(drawn_pictures[3]), "--out", str(tmp_path), "--overlay"]
    script = f"import sys\nfor name in {lacking}: sys.modules[name] = None\n"
    script += f"sys.argv[1:] = {words}\nfrom maskline.pipelines.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = (tmp_path / "predictions.jsonl").read_text().splitlines()
    assert json.loads(line)["boxes"]


def test_the_package_loads_what_is_asked_for() -> None:
    code = "import maskline, sys; print([n for n in ('pydantic', 'numpy', 'yaml') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert all(getattr(maskline, name) is not None for name in maskline.__all__)
    assert set(maskline.__all__) <= set(dir(maskline))
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = maskline.absent  # type: ignore[attr-defined]


def test_a_file_tells_its_tiling_and_is_asked_by_it(tiled_file: Path, drawn_pictures: list[Path]) -> None:
    model, pixels = OnnxModel(tiled_file), np.asarray(Image.open(drawn_pictures[3]))
    assert model.tiling == Tiling(2, 1, 0.1, 0.25)
    (answer,) = maskline.predict(model, pixels)
    expected = maskline.tiled(model.whole, pixels, Tiling(2, 1, 0.1), most=20)
    assert answer.detections is not None
    assert 0 < len(expected) == len(answer.detections)
    assert answer.detections.masks == expected.masks
    assert (answer.detections.width, answer.detections.height) == (320, 240)
    model.tiling = None
    assert model(pixels).scores.tolist() == model.whole(pixels).scores.tolist()
