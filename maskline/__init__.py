"""AutoML for image instance segmentation on Kubeflow Pipelines.

What is here is loaded when it is first asked for, so that prediction and serving need none of what describes
jobs.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

if _TYPE_CHECKING:
    from . import automl, constants, entities, sweep
    from .entities import AmlTokenConfiguration, ManagedIdentityConfiguration, UserIdentityConfiguration
    from .errors import JobError, MasklineError
    from .inference import predict
    from .inputs import Input, Output
    from .job import ImageInstanceSegmentationJob, load_job
    from .pipelines.cluster.client import Client
    from .search_space import SearchSpace
    from .settings import TrainingSettings
    from .tile_answers import tiled
    from .tiling import Tiling

_MODULES = ("automl", "constants", "entities", "sweep")
_HOMES = {
    "AmlTokenConfiguration": "entities",
    "Client": "pipelines.cluster.client",
    "ImageInstanceSegmentationJob": "job",
    "Input": "inputs",
    "JobError": "errors",
    "ManagedIdentityConfiguration": "entities",
    "MasklineError": "errors",
    "Output": "inputs",
    "SearchSpace": "search_space",
    "Tiling": "tiling",
    "TrainingSettings": "settings",
    "UserIdentityConfiguration": "entities",
    "load_job": "job",
    "predict": "inference",
    "tiled": "tile_answers",
}
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
    "Tiling",
    "TrainingSettings",
    "UserIdentityConfiguration",
    "__version__",
    "automl",
    "constants",
    "entities",
    "load_job",
    "predict",
    "sweep",
    "tiled",
]


def __getattr__(name: str) -> _Any:
    if name in _MODULES:
        return _import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(_import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
