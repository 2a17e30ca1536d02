"""What a family of models brings. Everything else, from the data to the report, is the same for all of them.

A new family is a file that has these, an entry in the registry, and the tests of
tests/unit/models/test_contract.py, which it must pass.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from maskline.settings import TrainingSettings

if TYPE_CHECKING:
    import onnx

Found = dict[str, Tensor]
"""What a model finds on a picture: boxes (n, 4) x1 y1 x2 y2 in its pixels, labels (n,) int64 from 1, scores
(n,) in 0 ... 1, masks (n, 1, h, w) probabilities."""
Size = tuple[int, int]
"""Width and height in pixels."""

OUTPUTS = ("boxes", "labels", "scores", "masks")
"""Of an exported graph, in this order; a family may have further ones after them."""


class Family(Protocol):
    """A registered model: how it is made, trained, asked and exported."""

    @property
    def class_rows(self) -> Mapping[str, int]:
        """Layers that have rows for each class, and how many rows a class has."""

    @property
    def background(self) -> bool:
        """Whether the first class of these layers is the background."""

    @property
    def diverged_loss(self) -> float:
        """A loss that no training has that goes well, once it has begun."""

    @property
    def terms(self) -> Mapping[str, str]:
        """For `coco` and `imagenet`, a sentence on who published these weights, under which terms."""

    def build(self, settings: TrainingSettings, number_of_classes: int) -> nn.Module:
        """A model with random weights, see `build_model`."""

    def size(self, original: Size, settings: TrainingSettings) -> Size:
        """The size at which the network works on a picture; training pictures come in it."""

    def backbone(self, model: nn.Module) -> nn.Module:
        """The part that `layers_to_freeze` and pre-trained weights are about."""

    def compile(self, model: nn.Module) -> None:
        """Compile the backbone for training, in place, see `compile_forward`."""

    def reporting(
        self, model: nn.Module, score_threshold: float, *, small_masks: bool = False
    ) -> AbstractContextManager[None]:
        """For a while, let a model report what has a score above this; with masks as the network makes them,
        where that is asked for, which is what `results` takes.
        """

    def results(
        self, found: Found, image_id: int, height: int, width: int, mask_threshold: float
    ) -> list[dict[str, Any]]:
        """What was found on one picture as COCO results, at the size of the picture.

        Args:
            found: of the model, with small masks.
            image_id: id of the picture in its split.
            height: of the picture in pixels.
            width: of the picture in pixels.
            mask_threshold: a pixel belongs to the mask when its probability is above this.
        """

    def published(self, settings: TrainingSettings, wanted: str) -> Mapping[str, Tensor]:
        """Published weights, `coco` or `imagenet`.

        Raises:
            WeightsError: they can't be had.
        """

    def own_names(self, weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """Weights under the names that the model has for them."""

    def limit_proposals(self, model: nn.Module, most: int) -> None:
        """Let the heads look at so many regions of a picture at the most, when it is asked; for good.

        Raises:
            JobError: the model has no such heads.
        """

    def graph(self, detector: nn.Module, kind: str, limits: Mapping[str, Tensor]) -> "onnx.ModelProto":
        """The graph for one picture, in 32 bits, with OUTPUTS.

        Args:
            detector: on the CPU, in evaluation mode.
            kind: `picture` takes `image`, uint8 (H, W, 3); `network` takes `input`, float32 (1, 3, h, w).
            limits: of scores, detections and mask pixels, which become inputs of these names.
        """

    def seen(self, detector: nn.Module, picture: Tensor) -> tuple[Tensor, Found]:
        """What the network alone is given for a picture (3, H, W) in 0 ... 1: (3, h, w), resized and
        normalised; and what the model finds, in coordinates of that.
        """

    def inference(self, settings: TrainingSettings) -> dict[str, Any]:
        """What predictions depend on, beside the thresholds: under the names of Azure's settings.json."""

    def limits(self, settings: TrainingSettings) -> list[str]:
        """What a user of the model is to know of how pictures are seen and objects found, for its card."""
