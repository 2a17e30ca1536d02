"""The cluster file: what a job doesn't say of the cluster it runs in. It is checked in full, like a job.

kubeflow: {host: https://kubeflow.example.com/pipeline, namespace: team-a}
images: {registry: registry.example.com/maskline}
volumes:
  - {claim: maskline-runs, path: /maskline/runs}
study: {secret: maskline-study, key: url}
computes:
  gpu-a100:
    accelerator: nvidia.com/gpu
    node_selector: {gpu: a100}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]

Secrets are named here and never held: their values stay in the cluster.
"""

import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from maskline.errors import JobError
from maskline.images import REGISTRY
from maskline.job_yaml import from_yaml
from maskline.rules import Part, show

from .computes import GPU, Compute, CpuPool, Folder, Name, Texts, Variable, matches

RUN_ROOT = "/maskline/runs"
"""Where the volume of run directories is mounted unless a cluster file says otherwise."""
RUN_VOLUME = "maskline-runs"
"""Name of the claim that all trials share; on more than one node it must allow ReadWriteMany."""


class Volume(Part):
    """A persistent volume claim, and where stages see it."""

    claim: Name
    """Name of the claim, in the namespace of the runs."""
    path: Folder
    """Folder at which it is mounted."""
    sub_path: str = ""
    """Folder in the volume that is mounted; left out, its root."""


class Secret(Part):
    """A secret of the cluster's that stages read: as variables, as files, or both."""

    name: Name
    """Name of the secret, in the namespace of the runs."""
    env: dict[Variable, str] = {}
    """Environment variables and the keys that they are read from."""
    path: Folder | None = None
    """Folder in which every key is a file."""

    @model_validator(mode="after")
    def _used(self) -> "Secret":
        if not self.env and self.path is None:
            raise ValueError("env and path are missing; say how stages read the secret")
        return self


class StudySecret(Part):
    """Where the address of the studies' PostgreSQL stands: `postgresql://user:password@host/database`."""

    secret: Name = "maskline-study"  # noqa: S105  the name of a secret
    """Name of the secret."""
    key: str = "url"
    """Its key."""


class Kubeflow(Part):
    """How Kubeflow Pipelines is reached. Tokens and cookies come from the environment, never from here."""

    hints: ClassVar[dict[str, str]] = {
        "token": "is a secret; set the environment variable MASKLINE_KFP_TOKEN instead",
        "cookie": "is a secret; set the environment variable MASKLINE_KFP_COOKIE instead",
    }
    host: (
        Annotated[str, matches(r"https?://[^\s/]+\S*", "give an address such as https://host/pipeline")]
        | None
    ) = None
    """Address of the API; left out, the cluster's own service, from inside or by kubeconfig."""
    ui: Annotated[str, matches(r"https?://\S+", "give an address such as https://host")] | None = None
    """Address of the pages, where it is another than that of the API."""
    namespace: Name = "kubeflow"
    """Namespace of the runs; with several users, that of the profile."""
    system_namespace: Name = "kubeflow"
    """Namespace in which Kubeflow Pipelines itself runs."""
    context: str | None = None
    """Context of kubeconfig; left out, the current one."""
    ca_certificate: str | None = None
    """File of the authority that signed the API's certificate; left out, those that certifi knows."""
    pipeline_root: str | None = None
    """URI below which KFP keeps artifacts; left out, what KFP is configured with."""


class Images(Part):
    """Where images come from."""

    registry: Annotated[str, matches(r"[^\s/:]+(:\d+)?(/[^\s:]+)?", "give host/path without a tag")] = (
        REGISTRY
    )
    """Registry and path; `maskline-trainer` and `maskline-light` lie there."""
    tag: Annotated[str, matches(r"[\w][\w.-]{0,127}", "give a tag")] = version("maskline")
    """Tag of both; it must carry this version of Maskline."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When nodes pull; left out, Kubernetes' rule."""
    pull_secrets: list[Name] = []
    """Secrets with the registry's credentials."""


class Cluster(Part):
    """A cluster file."""

    kubeflow: Kubeflow = Field(default_factory=Kubeflow)
    """How Kubeflow Pipelines is reached."""
    images: Images = Field(default_factory=Images)
    """Where images come from."""
    service_account: Name | None = None
    """Account of the runs' pods; left out, the one that KFP gives them."""
    run_root: str = RUN_ROOT
    """Folder of a volume, or URI such as s3://bucket/runs, for all that outlives a pod."""
    volumes: list[Volume] = Field(default_factory=lambda: [Volume(claim=RUN_VOLUME, path=RUN_ROOT)])
    """Claims that every stage mounts; an empty list for none."""
    secrets: list[Secret] = []
    """Secrets that every stage reads, such as an object store's."""
    environment: Texts = {}
    """Environment variables of every stage; the job's own win."""
    study: StudySecret | None = None
    """The studies' database; left out, a journal in the run directory."""
    cpu: CpuPool = Field(default_factory=CpuPool)
    """Where stages without an accelerator run."""
    computes: dict[Name, Compute] = Field(
        default_factory=lambda: {"gpu": Compute(accelerator=GPU)}, min_length=1
    )
    """Where trials run, by the name that jobs give in `compute`."""
    default_compute: Name | None = None
    """Compute of jobs that name none; left out, the only one."""

    @model_validator(mode="after")
    def _whole(self) -> "Cluster":
        if found := list(self._contradictions()):
            raise JobError(found)
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.default_compute and self.default_compute not in self.computes:
            yield f"default_compute={self.default_compute} is no compute: {', '.join(self.computes)}"
        if "://" not in self.run_root:
            if not self.run_root.startswith("/"):
                yield f"run_root={show(self.run_root)} is not legal; give a URI, or a path on a volume"
            elif self.run_volume is None:
                yield f"run_root={self.run_root} lies on none of the volumes; mount one there, or give a URI"
        elif self.study is None:
            yield (
                f"run_root={self.run_root} can't hold a study's journal: trials share no file system; "
                "give study: {secret: …, key: …}, or a folder on a volume"
            )
        places = [*(v.path for v in self.volumes), *(s.path for s in self.secrets if s.path)]
        for twice in sorted({place for place in places if places.count(place) > 1}):
            yield f"{twice} is mounted twice; give each volume and secret a path of its own"
        for name, value in self.environment.items():
            if not re.fullmatch(r"[A-Za-z_]\w*", name) or "{{" in value:
                yield f"environment.{name} can't be set; use letters, digits and _, and no {{{{ in the value"

    @property
    def run_volume(self) -> Volume | None:
        """The volume that run_root lies on; None for an object store."""
        under = [v for v in self.volumes if f"{self.run_root}/".startswith(f"{v.path}/")]
        return max(under, key=lambda v: len(v.path), default=None)


def read_cluster(path: str | os.PathLike[str] | None) -> Cluster:
    """Read a cluster file; without one, everything has its default.

    Args:
        path: a YAML file.

    Raises:
        JobError: there is no such file, or something in it is wrong; all of it at once, with the file's name.
    """
    if path is None:
        return Cluster()
    try:
        text = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise JobError(f"cluster file {path}: {error.strerror}; give the path of a cluster file") from None
    try:
        return Cluster(**from_yaml(text, "cluster file"))
    except JobError as error:
        raise JobError([f"{path}: {problem}" for problem in error.problems]) from None
