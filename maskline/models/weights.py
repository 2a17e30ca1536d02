"""Where training starts: published weights, a file, a URI, or a checkpoint of a former run."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from maskline import storage
from maskline.artifacts import BEST, CHECKPOINT, DESCRIPTION, NO_WEIGHT
from maskline.errors import StorageError, WeightsError
from maskline.settings import TrainingSettings, weights_wanted

from . import family_of
from .family import Family
from .heads import match_rows
from .torchvision_weights import INSTEAD

FILES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class Start:
    """Tensors that a training starts from.

    Attributes:
        tensors: by name: a whole detector's, or those of a ResNet classifier for the backbone.
        classes: of a detector, in the order of its labels from 1; None if nobody knows.
    """

    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None


def fetch(settings: TrainingSettings) -> Start | None:
    """What training starts from; None to start from scratch.

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
    if wanted in ("coco", "imagenet"):
        return Start(family_of(settings.model_name).published(settings, wanted))
    return _read(_file(wanted), "advanced_settings.pretrained_weights")


def load(family: Family, model: nn.Module, start: Start, classes: Sequence[str] = ()) -> list[str]:
    """Copy every tensor that fits by name and shape; the others keep their random start.

    If the classes of the weights are known, the heads' rows are matched by the classes' names: those in
    common keep what was learnt of them, wherever they stand in the order.

    Args:
        family: of the model.
        model: a model of `build_model`; changed in place.
        start: of `fetch`.
        classes: of the model, in the order of its labels from 1.

    Returns:
        Names of the model's tensors that are not in the weights, sorted; of a head that knows some of the
        classes only, with the others in parentheses.

    Raises:
        WeightsError: not one tensor of the backbone fits.
    """
    weights = {name: tensor for name, tensor in start.tensors.items() if not name.startswith(NO_WEIGHT)}
    weights = family.own_names(weights, model)
    own = model.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    new: list[str] = []
    if start.classes is not None:
        new = [name for name in classes if name not in start.classes]
        heads = [name for name in own if name.rpartition(".")[0] in family.class_rows]
        fitting = {name: tensor for name, tensor in fitting.items() if name not in heads}
        if len(new) < len(classes):
            fitting |= match_rows(own, weights, start.classes, classes, family)
    body = {id(tensor) for tensor in family.backbone(model).parameters()}
    if not any(name in fitting for name, tensor in model.named_parameters() if id(tensor) in body):
        raise WeightsError(
            "the weights fit no layer of the model's backbone: they belong to another architecture; "
            f"choose weights of the same backbone, {INSTEAD}"
        )
    model.load_state_dict(fitting, strict=False)
    missing = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    partly = [name for name in fitting if new and name.rpartition(".")[0] in family.class_rows]
    return sorted(missing + [f"{name} ({', '.join(new)})" for name in partly])


def _read(source: str, field: str) -> Start:
    try:
        content = storage.read_bytes(source)
        if source.endswith(".safetensors"):
            return Start(load_safetensors(content), _classes(content))
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (StorageError, OSError, ValueError, SafetensorError) as error:
        raise WeightsError(f"{field}={source} can't be read: {error}; correct the path, {INSTEAD}") from error
    except Exception as error:  # torch.load raises whatever its unpickler meets in a foreign file
        raise WeightsError(
            f"{field}={source} is no file of tensors alone ({type(error).__name__}); save the state_dict "
            f"of the model, best as safetensors, {INSTEAD}"
        ) from error
    state = found.get("model", found.get("state_dict", found)) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{field}={source} holds no state_dict; save model.state_dict(), {INSTEAD}")
    return Start(state)


def _file(source: str) -> str:
    """The file of weights in a folder, as transformers' models are kept in, or the file itself."""
    inside = storage.join(source, "model.safetensors")
    try:
        return inside if not source.endswith(FILES) and storage.exists(inside) else source
    except StorageError:
        return source  # what is wrong with it is said when it is read


def _classes(content: bytes) -> tuple[str, ...] | None:
    """The classes that a checkpoint of Maskline names in its header: JSON, after 8 bytes of its length."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    described = header.get("__metadata__", {}).get(DESCRIPTION)
    return None if described is None else tuple(json.loads(described)["classes"])


def _run_checkpoint(source: str) -> str:
    """The best model's file below a run directory, a trial's or a model's, or the file itself."""
    if source.endswith(FILES):
        return source
    places = [storage.join(source, *names) for names in (("model", CHECKPOINT), (CHECKPOINT,), (BEST,))]
    try:
        return next((place for place in places if storage.exists(place)), places[0])
    except StorageError as error:
        raise WeightsError(f"checkpoint_run_id={source} can't be reached: {error}") from error
