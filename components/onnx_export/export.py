"""A trained model as one ONNX graph that takes a picture as users have it."""

import json
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from maskline.checkpoint import Checkpoint
from maskline.settings import TrainingSettings

OPSET = 17
OUTPUTS = ("boxes", "labels", "scores", "masks")


class PictureModel(nn.Module):
    """A detector that takes an RGB picture, uint8 (H, W, 3), and answers in that picture's coordinates.

    The answer: boxes (n, 4) float32 x1 y1 x2 y2 in pixels, labels (n,) int64 from 1, scores (n,) float32 in
    0 ... 1 in falling order, masks (n, H, W) uint8, 1 where the object is. Scaling, normalisation,
    resizing and the way back are inside.
    """

    def __init__(self, detector: nn.Module, mask_threshold: float) -> None:
        super().__init__()
        self.detector = detector
        self.mask_threshold = mask_threshold

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detect."""
        boxes, labels, scores, soft = self.soft(image)
        return boxes, labels, scores, (soft > self.mask_threshold).to(torch.uint8)

    def soft(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same with masks (n, H, W) float32, the probability of each pixel."""
        picture = image.permute(2, 0, 1).to(torch.float32) / 255
        found = self.detector([picture])[0]
        return found["boxes"], found["labels"], found["scores"], found["masks"][:, 0]


def picture_model(detector: nn.Module, settings: TrainingSettings, score_threshold: float) -> PictureModel:
    """The detector as it is deployed: on the CPU, in evaluation mode, with this score threshold."""
    detector.roi_heads.score_thresh = score_threshold  # type: ignore[union-attr]
    return PictureModel(detector.cpu().eval(), settings.advanced.mask_pixel_score_threshold).eval()


def export(model: PictureModel, checkpoint: Checkpoint, path: Path) -> None:
    """Write the graph, dynamic in the picture's size, and check that it is valid ONNX.

    torch's newer exporter can't yet translate torchvision's non-maximum suppression, whose control flow
    depends on the number of boxes; the TorchScript-based one can.

    Args:
        model: of `picture_model`.
        checkpoint: whose classes, settings and score go into the graph's metadata.
        path: file to write.
    """
    example = torch.randint(0, 255, (240, 320, 3), dtype=torch.uint8)
    axes = {"image": {0: "height", 1: "width"}, "masks": {0: "n", 1: "height", 2: "width"}}
    axes |= {name: {0: "n"} for name in ("boxes", "labels", "scores")}
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing warns of every Python number it meets; the parity check shows what they are worth.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (example,),
            str(path),
            opset_version=OPSET,
            dynamo=False,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_axes=axes,
        )
    graph = onnx.load(path)
    facts = {
        "classes": json.dumps(list(checkpoint.classes)),
        "settings": json.dumps(checkpoint.settings),
        "epoch": str(checkpoint.epoch),
        "score": str(checkpoint.score),
        "data_digest": checkpoint.digest,
        "input": "image: uint8 (height, width, 3), RGB, upright, any size",
    }
    onnx.helper.set_model_props(graph, facts)
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, path)
