"""A trainer image for tests, where torch's wheels can't be downloaded again: the light image and, of this
environment, the packages that the extra [train] adds to it.

    python tests/containers/trainer.py LIGHT TAG
"""

import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

WANTED = ("torch", "torchvision", "onnx", "onnxruntime", "safetensors", "tensorboardX")
NOT_NEEDED = ("triton", "setuptools")
"""Large, and of use to torch.compile alone."""
PLACE = "/opt/maskline/lib/python3.11/site-packages"


def closure(names: tuple[str, ...]) -> set[str]:
    """Packages and all that they require here, by normalised name, as far as it is installed."""
    seen: set[tuple[str, str]] = set()
    open_ = [(name, "") for name in names]
    while open_:
        name, extra = open_.pop()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if (name, extra) in seen or name in NOT_NEEDED:
            continue
        try:
            requires = [Requirement(line) for line in distribution(name).requires or []]
        except PackageNotFoundError:
            continue
        seen.add((name, extra))
        for wanted in requires:
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                open_ += [(wanted.name, ""), *((wanted.name, one) for one in wanted.extras)]
    return {name for name, _ in seen}


def link(names: set[str], folder: Path) -> None:
    """Their files below a folder, as further names of the same files."""
    for name in names:
        for file in distribution(name).files or []:
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            source = Path(str(file.locate()))
            if source.is_file() and not target.exists():
                os.link(source, target)


def build(light: str, tag: str) -> None:
    """Build the image; the packages that the light image has too are laid over it unchanged."""
    import maskline

    beside = Path(maskline.__file__).parents[1]
    here = Path(sys.prefix)
    with tempfile.TemporaryDirectory(dir=here if os.access(here, os.W_OK) else beside) as folder:
        context = Path(folder)
        link(closure(WANTED), context / "packages")
        (context / "Dockerfile").write_text(f"FROM {light}\nCOPY packages {PLACE}\n")
        (context / ".dockerignore").write_text("")
        subprocess.run(["docker", "build", "--quiet", "--tag", tag, folder], check=True)


if __name__ == "__main__":
    build(*sys.argv[1:])
