"""Names of the container images; the tag is the version of Maskline that an image carries."""

import os
from importlib.metadata import version

REGISTRY = os.environ.get("MASKLINE_REGISTRY", "ghcr.io/maskline")
"""Where the images are pulled from, read when a pipeline is compiled."""
SERVER = f"{REGISTRY}/maskline-server:{version('maskline')}"
"""A model behind HTTP; no stage of the pipeline."""
TRAINER = f"{REGISTRY}/maskline-trainer:{version('maskline')}"
"""torch and everything else: trials, evaluation, export."""
LIGHT = f"{REGISTRY}/maskline-light:{version('maskline')}"
"""No torch: data preparation and trial selection."""
