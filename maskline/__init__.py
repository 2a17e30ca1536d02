"""AutoML for image instance segmentation on Kubeflow Pipelines."""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

from . import automl, constants, entities, sweep
from .entities import AmlTokenConfiguration, ManagedIdentityConfiguration, UserIdentityConfiguration
from .errors import JobError, MasklineError
from .inputs import Input, Output
from .job import ImageInstanceSegmentationJob, load_job
from .search_space import SearchSpace
from .settings import TrainingSettings

if TYPE_CHECKING:
    from .pipelines.cluster import Client

__version__ = _version("maskline")
__all__ = [
    "AmlTokenConfiguration",
    "Client",
    "ImageInstanceSegmentationJob",
    "Input",
    "JobError",
    "ManagedIdentityConfiguration",
    "MasklineError",
    "Output",
    "SearchSpace",
    "TrainingSettings",
    "UserIdentityConfiguration",
    "__version__",
    "automl",
    "constants",
    "entities",
    "load_job",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """The client of the cluster, which knows Kubeflow Pipelines, is loaded when it is used."""
    if name == "Client":
        from .pipelines.cluster import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
