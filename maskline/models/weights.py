"""Where training starts: published weights, a file, a URI, or a checkpoint of a former run."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import fsspec
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torchvision.models import Weights

from maskline.errors import WeightsError
from maskline.settings import TrainingSettings, weights_wanted

BACKBONES = {
    "maskrcnn_resnet18_fpn": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet18_fpn_light": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet34_fpn": torchvision.models.ResNet34_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet50_fpn": torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet101_fpn": torchvision.models.ResNet101_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet152_fpn": torchvision.models.ResNet152_Weights.IMAGENET1K_V1,
}
DETECTORS = {
    "maskrcnn_resnet50_fpn": torchvision.models.detection.MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
}
INSTEAD = (
    "or set advanced_settings.pretrained_weights to a file or URI you can reach, "
    "or to none to train from scratch"
)


def fetch(settings: TrainingSettings) -> Mapping[str, Tensor] | None:
    """The tensors that training starts from, by name; None to start from scratch.

    Published weights come from torchvision's download cache (`$TORCH_HOME/hub/checkpoints`), which an image
    may have filled, or from the network.

    Raises:
        WeightsError: they can't be had; says why and what to do instead.
    """
    wanted = weights_wanted(settings)
    if settings.checkpoint_run_id is not None:
        return _read(_run_checkpoint(settings.checkpoint_run_id), "checkpoint_run_id")
    if wanted == "none":
        return None
    if wanted == "imagenet":
        return _published(BACKBONES[settings.model_name])
    if wanted == "coco":
        return _published(DETECTORS[settings.model_name])
    return _read(wanted, "advanced_settings.pretrained_weights")


def load(model: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copy every tensor that fits by name and shape; the others keep their random start.

    Args:
        model: a model of `build_model`; changed in place.
        weights: a whole detector's tensors, or those of a ResNet classifier for the backbone.

    Returns:
        Names of the model's tensors that were not in the weights, sorted.

    Raises:
        WeightsError: not one tensor of the backbone fits.
    """
    if "conv1.weight" in weights:
        weights = {f"backbone.body.{name}": tensor for name, tensor in weights.items()}
    own = model.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    body = [name for name in own if name.startswith("backbone.body.") and name.endswith("weight")]
    if not any(name in fitting for name in body):
        raise WeightsError(
            "the weights fit no layer of the model's backbone: they belong to another architecture; "
            f"choose weights of the same ResNet, {INSTEAD}"
        )
    model.load_state_dict(fitting, strict=False)
    return sorted(name for name in own if name not in fitting and not name.endswith("num_batches_tracked"))


def _published(weights: Weights) -> Mapping[str, Tensor]:
    file = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(weights.url)
    try:
        found: Mapping[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights {weights} can't be had from {weights.url}: {error}; "
            f"put the file at {file}, {INSTEAD}"
        ) from error
    return found


def _read(source: str, field: str) -> Mapping[str, Tensor]:
    try:
        with fsspec.open(source, "rb") as stream:
            if source.endswith(".safetensors"):
                return load_safetensors(stream.read())
            found = torch.load(stream, map_location="cpu", weights_only=True)
    except ImportError as error:  # fsspec reaches some places only with another package, and names it
        raise WeightsError(f"{field}={source} can't be reached: {error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{field}={source} can't be read: {error}; correct the path, {INSTEAD}") from error
    except Exception as error:  # torch.load raises whatever its unpickler meets in a foreign file
        raise WeightsError(
            f"{field}={source} is no file of tensors alone ({type(error).__name__}); save the state_dict "
            f"of the model, best as safetensors, {INSTEAD}"
        ) from error
    state = found.get("model", found.get("state_dict", found)) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{field}={source} holds no state_dict; save model.state_dict(), {INSTEAD}")
    return state


def _run_checkpoint(source: str) -> str:
    """The best model's file below a run directory, or the file itself."""
    if source.endswith((".safetensors", ".pt", ".pth")):
        return source
    return f"{source.rstrip('/')}/model/checkpoint.safetensors"
