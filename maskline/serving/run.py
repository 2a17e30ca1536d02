"""A server process: it ends well when it is told to."""

from pathlib import Path

import uvicorn

from maskline.onnx_model import OnnxModel

from .app import build_app
from .limits import ServingLimits

GRACE_SECONDS = 30
"""That requests in work have when the server is told to end."""


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    name: str = "maskline",
    limits: ServingLimits | None = None,
) -> None:
    """Serve a model until SIGTERM or SIGINT; what is in work then is still answered.

    Args:
        model: model.onnx, or a folder that holds it.
        host: address to listen at.
        port: to listen at.
        name: of the model in protocol v2.
        limits: what is taken.

    Raises:
        ModelFileError: the model can't be loaded.
    """
    app = build_app(OnnxModel(model, threads=1), name, limits)
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=75,  # longer than load balancers wait, so that it is they who close
    )
