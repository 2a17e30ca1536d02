"""RF-DETR as a family."""

import copy
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maskline import rle
from maskline.errors import JobError, WeightsError
from maskline.families import published_file, side_of, size_of
from maskline.settings import TrainingSettings

from .compiling import compile_forward
from .family import Found, Size
from .rfdetr import RECIPES, at_size, prepared, rfdetr
from .torchvision_weights import INSTEAD

if TYPE_CHECKING:
    import onnx

ADDRESS = "https://huggingface.co/Roboflow/{}/resolve/main/model.safetensors"
ORIGINAL = "backbone.0."
"""Names of the published tensors begin so, and not those of transformers' model."""
NETWORK = "network."
CHUNK = 8
"""Masks that are brought to the size of the picture at a time."""


class RfDetrFamily:
    """RF-DETR; see `Family`."""

    background = False
    diverged_loss = 500.0  # the sum over up to seven layers; a new model begins at 60 to 100
    terms = {
        "coco": "Training started from Roboflow's weights for COCO (RF-DETR: Apache-2.0; COCO's annotations: "
        "CC BY 4.0; its pictures belong to their authors).",
    }

    @property
    def class_rows(self) -> Mapping[str, int]:
        """Of the decoder, and of the encoder's proposals, a layer for each group of queries."""
        groups = range(max(recipe.groups for recipe in RECIPES.values()))
        layers = ["class_embed", *(f"model.enc_out_class_embed.{group}" for group in groups)]
        return {f"{NETWORK}model.{layer}": 1 for layer in layers}

    def build(self, settings: TrainingSettings, number_of_classes: int) -> nn.Module:
        """The model, with random weights."""
        return rfdetr(settings, number_of_classes)

    def size(self, original: Size, settings: TrainingSettings) -> Size:
        """A square, whatever the picture's proportions."""
        return side_of(settings), side_of(settings)

    def backbone(self, model: nn.Module) -> nn.Module:
        """The windowed DINOv2."""
        return model.get_submodule(f"{NETWORK}model.model.backbone.backbone")

    def compile(self, model: nn.Module) -> None:
        """The backbone, once for each side: torch can't leave the size of a bicubic resizing open."""
        compile_forward(self.backbone(model), dynamic=False)

    @contextmanager
    def reporting(
        self, model: nn.Module, score_threshold: float, *, small_masks: bool = False
    ) -> Iterator[None]:
        """See `Family`; small masks are logits of the whole picture, at a quarter of the network's side."""
        detector: Any = model
        before = detector.score_threshold, detector.small_masks
        detector.score_threshold, detector.small_masks = score_threshold, small_masks
        try:
            yield
        finally:
            detector.score_threshold, detector.small_masks = before

    def results(
        self, found: Found, image_id: int, height: int, width: int, mask_threshold: float
    ) -> list[dict[str, Any]]:
        """See `Family`."""
        masks: list[dict[str, Any]] = []
        for soft in torch.split(found["masks"].float(), CHUNK):
            large = at_size(soft, (height, width))[:, 0] > mask_threshold
            masks += [rle.encode(mask.numpy()) for mask in large.to(torch.uint8).cpu()]
        boxes = found["boxes"].float().cpu().tolist()
        return [
            {
                "image_id": image_id,
                "category_id": label,
                "score": score,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "segmentation": mask,
            }
            for box, label, score, mask in zip(
                boxes, found["labels"].tolist(), found["scores"].tolist(), masks, strict=True
            )
        ]

    def published(self, settings: TrainingSettings, wanted: str) -> Mapping[str, Tensor]:
        """The weights for COCO of the model's size, from torch's download cache or from the network."""
        file = published_file(size_of(settings))
        address = ADDRESS.format(file.stem)
        try:
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                torch.hub.download_url_to_file(address, str(file), progress=False)
            return load_file(file)
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"the weights {file.stem} can't be had from {address}: {error}; "
                f"put the file at {file}, {INSTEAD}"
            ) from error

    def own_names(self, weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """Published tensors, or those of transformers' model, under the names of Maskline's."""
        found = dict(weights)
        if any(name.startswith(ORIGINAL) for name in found):
            found = _translated(found, model)
        if any(name.startswith(NETWORK) for name in found):
            return found
        return {NETWORK + name: tensor for name, tensor in found.items()}

    def limit_proposals(self, model: nn.Module, most: int) -> None:
        """See `Family`; the number of its queries is trained."""
        raise JobError(f"onnx_proposals={most} belongs to Mask R-CNN; rfdetr_seg has no proposals: remove it")

    def graph(self, detector: nn.Module, kind: str, limits: Mapping[str, Tensor]) -> "onnx.ModelProto":
        """See `Family`."""
        from .rfdetr_graph import graph

        return graph(detector, kind, limits)

    def seen(self, detector: nn.Module, picture: Tensor) -> tuple[Tensor, Found]:
        """See `Family`."""
        model: Any = detector
        side = model.side
        image = prepared(picture, side)
        output = model.network(image[None])
        answers = (output.logits[0], output.pred_boxes[0], output.pred_masks[0])
        return image, model.answer(*answers, (side, side))

    def inference(self, settings: TrainingSettings) -> dict[str, Any]:
        """See `Family`."""
        return {"model_size": size_of(settings), "image_size": side_of(settings)}

    def limits(self, settings: TrainingSettings) -> list[str]:
        """See `Family`."""
        side = side_of(settings)
        return [
            f"At most {settings.box_detections_per_image} detections a picture; nothing is suppressed: one "
            "object may be found as two classes.",
            f"Pictures are resized to {side} x {side} pixels, whatever their proportions, and masks drawn "
            "at a quarter of that: what is only a few pixels large then is not found.",
        ]


def _translated(weights: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Published tensors under the names of transformers' model, which knows how to read them; those that are
    missing, or of another shape, are left out.
    """
    from transformers import RfDetrForInstanceSegmentation

    config = copy.deepcopy(model.network.config)
    if (bias := weights.get("class_embed.bias")) is not None:
        config.num_labels = len(bias)
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        network, told = RfDetrForInstanceSegmentation.from_pretrained(
            folder, config=config, ignore_mismatched_sizes=True, output_loading_info=True
        )
        lacking = set(told["missing_keys"]) | {key[0] for key in told["mismatched_keys"]}
        return {name: t.clone() for name, t in network.state_dict().items() if name not in lacking}
