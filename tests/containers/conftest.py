"""A Docker engine, and what images are built from on it."""

import shutil

import pytest
from containers.engine import TEST_BASES, answers


@pytest.fixture(scope="session")
def arguments() -> list[str]:
    """Build arguments: the bases for tests where they have been made, else what the Dockerfile names."""
    if shutil.which("docker") is None or not answers("version"):
        pytest.skip("no Docker engine answers")
    made = {name: image for name, image in TEST_BASES.items() if answers("image", "inspect", image)}
    return [f"--build-arg={name}={image}" for name, image in made.items()]
