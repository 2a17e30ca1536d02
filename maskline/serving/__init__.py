"""A model behind HTTP: Azure ML's request and response, and KServe's Open Inference Protocol v2; no torch."""

from .app import build_app
from .limits import ServingLimits
from .run import serve

__all__ = ["ServingLimits", "build_app", "serve"]
