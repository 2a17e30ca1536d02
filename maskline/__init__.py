"""AutoML for image instance segmentation on Kubeflow Pipelines."""

from importlib.metadata import version

__version__ = version("maskline")
__all__ = ["__version__"]
