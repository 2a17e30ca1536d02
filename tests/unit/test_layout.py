"""The shape of the tree: links, import identity, file sizes, knobs that somebody reads."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maskline.advanced import AdvancedSettings
from maskline.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted(p for top in ("maskline", "components", "pipelines") for p in (ROOT / top).rglob("*.py"))
SOURCES = [
    p
    for p in PRODUCT
    if not {"components", "pipelines"} & set(p.relative_to(ROOT / p.parts[len(ROOT.parts)]).parts)
]


@pytest.mark.parametrize("name", ["components", "pipelines"])
def test_links_resolve(name: str) -> None:
    link = ROOT / "maskline" / name
    assert link.is_symlink()
    assert link.resolve() == ROOT / name


def test_one_import_identity() -> None:
    for file in [*SOURCES, *(ROOT / "tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in ("components", "pipelines"), f"{file}: {name}"


def test_files_are_short() -> None:
    long = {str(f.relative_to(ROOT)): n for f in SOURCES if (n := len(f.read_text().splitlines())) > 400}
    assert not long


def test_doors_are_thin() -> None:
    for file in (ROOT / "components").glob("*/component.py"):
        (door,) = [n for n in ast.parse(file.read_text()).body if isinstance(n, ast.FunctionDef)]
        body = door.body[1:] if isinstance(door.body[0], ast.Expr) else door.body
        assert body[-1].end_lineno - body[0].lineno + 1 <= 15, file


def test_names() -> None:
    banned = {"utils", "helpers", "common", "manager", "base"}
    assert not [f for f in SOURCES if banned & set(re.split(r"[_/.]", str(f.relative_to(ROOT))))]


@pytest.mark.parametrize(
    ("model", "pattern"), [(TrainingSettings, r"settings\.{}\b"), (AdvancedSettings, r"advanced\.{}\b")]
)
def test_every_knob_is_read_or_refused(model: type, pattern: str) -> None:
    # Where it is defined, checked or told of doesn't count as reading.
    tellers = ("settings.py", "readiness.py", "knobs.py", "describe.py")
    code = "\n".join(ast.unparse(ast.parse(f.read_text())) for f in SOURCES if f.name not in tellers)
    refused = {"stream_image_files", "apply_mosaic_for_yolo"}
    # These are read in other ways, as said; `weights_wanted` is in settings.py.
    elsewhere = {
        "advanced_settings": "settings.advanced",
        "random_seed": "fixed.get('random_seed')",
        "pretrained_weights": "weights_wanted(settings)",
    }
    silent = [n for n in model.model_fields if n not in refused and not re.search(pattern.format(n), code)]
    assert [name for name in silent if elsewhere.get(name, "\0") not in code] == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['maskline', '--help']\n"
        "from maskline.pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'kfp', 'optuna', 'kubernetes', 'numpy', 'PIL') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
