"""Stages in the containers that a cluster would run them in, on this machine: kfp.local's DockerRunner.

Containers are as restricted as Pod Security "restricted" has them: no root, a read-only file system with a
scratch /tmp, no capabilities. They see the run directory and the data, at the paths that those have here, and
cached weights. What they write belongs to whoever started the run; where that is root, to the images' user.
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import yaml

from maskline.job import ImageInstanceSegmentationJob

from .cluster_file import Cluster
from .compiler import plan

LABEL = "maskline.run"
"""Label of a run's containers with the run's directory."""
USER = 10001
"""The images' user."""
WEIGHTS = "/opt/weights/hub"
"""Where the images keep published weights."""
IMAGES = ("light", "trainer")
TRIAL = "sweep_trial"
"""The word of a container's command that says that it trains."""
STOP_SECONDS = 15.0
"""What containers have to end by themselves."""


def obstacles() -> list[str]:
    """Why stages can't be started in containers: package, engine or images are missing; empty if they can."""
    try:
        import docker
    except ImportError:
        return ["runner docker needs the Python package docker; pip install 'maskline[docker]'"]
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        reason = " ".join(str(error).split())[:160]
        return [f"no Docker engine answers ({reason}); start it, or set DOCKER_HOST"]
    with contextlib.closing(client):
        lacking = [name for name in map(image, IMAGES) if not client.images.list(name=name)]
    return [f"{name} is not on this machine; `make images`, or docker pull" for name in lacking]


def image(name: str) -> str:
    """The image `light` or `trainer` of this version."""
    images = Cluster().images
    return f"{images.registry}/maskline-{name}:{images.tag}"


def prepare(directory: Path) -> None:
    """Let containers write into a run directory that root has made."""
    if os.getuid() == 0:
        for folder in (directory, directory / "logs", directory / "pipeline"):
            folder.mkdir(exist_ok=True)
            os.chown(folder, USER, USER)


def with_variables(pipeline: Path, told: Mapping[str, str]) -> str:
    """The text of a compiled pipeline whose stages get further environment variables.

    kfp.local's own way to hand them over gives way as soon as a stage has one variable of the job's.
    """
    documents = list(yaml.safe_load_all(pipeline.read_text(encoding="utf-8")))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        given = executor["container"].setdefault("env", [])
        given.extend({"name": name, "value": value} for name, value in told.items())
    return yaml.safe_dump_all(documents)


def runner(job: ImageInstanceSegmentationJob, directory: Path) -> Any:
    """kfp.local's runner for a run.

    Args:
        job: the job; its data are mounted, read-only.
        directory: the run directory.
    """
    import docker
    from kfp import local

    who = f"{USER}:{USER}" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}"
    with contextlib.closing(docker.from_env()) as client:
        runtimes = client.info().get("Runtimes") or {}
    gpus = [docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])] if "nvidia" in runtimes else None
    return local.DockerRunner(
        user=who,
        read_only=True,
        tmpfs={"/tmp": "mode=1777,exec"},  # noqa: S108  in the container
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        shm_size="2g",
        labels={LABEL: str(directory)},
        mounts=_mounts(job, directory),
        device_requests=gpus,
    )


def _mounts(job: ImageInstanceSegmentationJob, directory: Path) -> list[Any]:
    """Data, weights and other runs, which training may go on from, read-only; the run itself writable."""
    from docker.types import Mount

    made = plan(job, None)
    read = {path for path in (made.training_data, made.validation_data, made.test_data) if path}
    read = {path for path in read if "://" not in path}
    found = [Mount(path, path, type="bind", read_only=True) for path in sorted(read)]
    found.append(Mount(str(directory.parent), str(directory.parent), type="bind", read_only=True))
    found.append(Mount(str(directory), str(directory), type="bind"))
    cache = Path(os.environ.get("TORCH_HOME") or Path.home() / ".cache/torch") / "hub"
    if cache.is_dir():
        found.append(Mount(WEIGHTS, str(cache), type="bind", read_only=True))
    return found


def stop(directory: Path) -> None:
    """End the containers of a run that still work; trials get SIGTERM, and time to save a checkpoint.

    A container's first process is the stage. The kernel passes SIGTERM to a first process only if it handles
    it, which no other stage does.
    """
    import docker

    with contextlib.suppress(docker.errors.DockerException), contextlib.closing(docker.from_env()) as client:
        found = client.containers.list(filters={"label": f"{LABEL}={directory}"})
        for container in found:
            trains = TRIAL in container.attrs["Config"]["Cmd"]
            with contextlib.suppress(docker.errors.APIError):
                container.kill(signal.SIGTERM if trains else signal.SIGKILL)
        end = time.monotonic() + STOP_SECONDS
        for container in found:
            try:
                container.wait(timeout=max(0.1, end - time.monotonic()))
            except (requests.exceptions.RequestException, docker.errors.APIError):
                with contextlib.suppress(docker.errors.APIError):
                    container.kill()
