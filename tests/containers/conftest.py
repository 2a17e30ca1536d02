"""A Docker engine, what images are built from on it, and the images of a run."""

import shutil

import pytest
from containers.engine import TEST_BASES, answers

from maskline.pipelines.docker_runner import image


@pytest.fixture(scope="session")
def arguments() -> list[str]:
    """Build arguments: the bases for tests where they have been made, else what the Dockerfile names."""
    if shutil.which("docker") is None or not answers("version"):
        pytest.skip("no Docker engine answers")
    made = {name: base for name, base in TEST_BASES.items() if answers("image", "inspect", base)}
    return [f"--build-arg={name}={base}" for name, base in made.items()]


@pytest.fixture(scope="session")
def images() -> None:
    """The images that a run takes are there."""
    for name in ("light", "trainer"):
        if shutil.which("docker") is None or not answers("image", "inspect", image(name)):
            pytest.skip(f"{image(name)} is not on this machine")
