"""AutoML for image instance segmentation on Kubeflow Pipelines."""

from importlib.metadata import version as _version

from . import automl, constants, entities, sweep
from .entities import AmlTokenConfiguration, ManagedIdentityConfiguration, UserIdentityConfiguration
from .errors import JobError, MasklineError
from .inputs import Input, Output
from .job import ImageInstanceSegmentationJob, load_job
from .search_space import SearchSpace
from .settings import TrainingSettings

__version__ = _version("maskline")
__all__ = [
    "AmlTokenConfiguration",
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
