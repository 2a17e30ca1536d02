"""How good a light model is after the same CPU time, trained by Maskline and by torchvision's recipe.

Both train `maskrcnn_resnet18_fpn_light` from scratch on the nuclei of dsb2018_dev, at 256 pixels, two
pictures a step, on one thread. Ours is the trainer, set as AutoMode's first trial; its CPU time is the
budget of the peers. They are the recipe of torchvision's detection references, written anew from its public
API: pictures by Pillow and whole masks, flips, SGD at 0.02 for 16 pictures, warm-up over the first epoch, a
tenth of the rate after 16 and 22 of 26 parts; and the same with our optimiser and rate. All are judged by
the same code: mask AP on the validation pictures, at IoU 0.50 to 0.95.

One seed and ten pictures: a difference of a few points can be chance.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, Mask

from maskline.artifacts import TrialDirectory
from maskline.checkpoint import restore
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.train import train
from maskline.dataset import PreparedDataset
from maskline.metrics import coco_scores
from maskline.models import build_model
from maskline.prediction import predict
from maskline.settings import TrainingSettings, complete

from .harness import Figure

DATA = (Path(__file__).parents[2] / "../shared/data/dsb2018_dev").resolve()
SIDE, LARGEST = 256, 1024
BATCH = 2
EPOCHS = 40
SEED = 0
RATE = 7e-4
CHOSEN = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": SIDE,
    "max_size": LARGEST,
    "training_batch_size": BATCH,
    "optimizer": "adamw",
    "learning_rate": RATE,
    "weight_decay": 1e-4,
    "number_of_epochs": EPOCHS,
    "number_of_workers": 0,
    "validation_metric_type": "none",
    "advanced_settings": '{"pretrained_weights": "none"}',
}

Parts = Callable[[Sequence[nn.Parameter]], Optimizer]


def measure() -> Iterator[Figure]:
    """Ours first; then each peer until it has used as much CPU time."""
    torch.set_num_threads(1)
    peers: dict[str, Parts] = {
        "reference": lambda parts: SGD(parts, lr=0.02 * BATCH / 16, momentum=0.9, weight_decay=1e-4),
        "reference_adamw": lambda parts: AdamW(parts, lr=RATE, weight_decay=1e-4),
    }
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Source(str(DATA)), None, out=Path(folder) / "data")
        began = time.process_time()
        ours = _ours(data, Path(folder))
        budget = time.process_time() - began
        reached = _ap(ours, data)
        for name, optimizer in peers.items():
            model, epochs = _peer(data, optimizer, budget)
            theirs = _ap(model, data)
            told = (
                f"AP {theirs:.4f} after {epochs:.1f} epochs, ours {reached:.4f} after {EPOCHS}, "
                f"each in {budget:.0f} CPU seconds"
            )
            print(f"equal_time.{name}: {told}", flush=True)
            yield Figure(f"equal_time.{name}", reached - theirs, 0.0, "higher", told, "AP")


def _ours(data: PreparedDataset, folder: Path) -> nn.Module:
    trial = folder / "trial"
    train(TrialSpec(CHOSEN, str(folder / "data"), str(trial), SEED, deadline=float("inf")))
    return restore(TrialDirectory(trial).best)[0]


def _peer(data: PreparedDataset, make_optimizer: Parts, budget: float) -> tuple[nn.Module, float]:
    """A model trained for so many CPU seconds, and for how many epochs that was."""
    torch.manual_seed(SEED)
    pictures = _Pictures(data.coco("train"))
    batches = DataLoader(pictures, batch_size=BATCH, shuffle=True, collate_fn=list)
    model = _reference_model(len(data.classes) + 1).train()
    optimizer = make_optimizer(list(model.parameters()))
    rate, steps, began = optimizer.param_groups[0]["lr"], 0, time.process_time()
    while True:
        for batch in batches:
            used = (time.process_time() - began) / budget
            if used >= 1:
                return model, steps / len(batches)
            warm = min(1.0, 0.001 + steps / (len(batches) - 1))
            optimizer.param_groups[0]["lr"] = rate * warm * 0.1 ** sum(used >= at / 26 for at in (16, 22))
            losses = model(*map(list, zip(*batch, strict=True)))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            steps += 1


class _Pictures(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """As the references load them: each picture whole, a mask of its size for each object, flips."""

    def __init__(self, coco: dict[str, Any]) -> None:
        self._images = coco["images"]
        self._objects: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in self._images}
        for one in coco["annotations"]:
            self._objects[one["image_id"]].append(one)
        self._transforms = v2.Compose(
            [
                v2.PILToTensor(),
                v2.RandomHorizontalFlip(0.5),
                v2.ToDtype(torch.float, scale=True),
                v2.ToPureTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = self._images[index]
        picture = Image.open(image["file_name"]).convert("RGB")
        objects, size = self._objects[image["id"]], (picture.height, picture.width)
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = [torch.as_tensor(rle.decode(one["segmentation"])) for one in objects]
        target = {
            "boxes": BoundingBoxes(boxes, format="XYXY", canvas_size=size),
            "labels": torch.tensor([one["category_id"] for one in objects], dtype=torch.int64),
            "masks": Mask(torch.stack(masks) if masks else torch.zeros((0, *size), dtype=torch.uint8)),
        }
        seen: tuple[Tensor, dict[str, Tensor]] = self._transforms(picture, target)
        return seen


def _reference_model(classes: int) -> nn.Module:
    """The light model of torchvision's parts alone."""
    widths = {f"layer{n}": str(n - 1) for n in range(1, 5)}
    return MaskRCNN(
        BackboneWithFPN(resnet18(weights=None), widths, [64, 128, 256, 512], 64),
        rpn_anchor_generator=AnchorGenerator(((16,), (32,), (64,), (128,), (256,)), ((0.5, 1.0, 2.0),) * 5),
        box_head=TwoMLPHead(64 * 7 * 7, 256),
        box_predictor=FastRCNNPredictor(256, classes),
        mask_head=MaskRCNNHeads(64, (64, 64), 1),
        mask_predictor=MaskRCNNPredictor(64, 64, classes),
        rpn_pre_nms_top_n_train=500,
        rpn_post_nms_top_n_train=500,
        box_batch_size_per_image=64,
        min_size=SIDE,
        max_size=LARGEST,
    )


def _ap(model: nn.Module, data: PreparedDataset) -> float:
    """Mask AP on the validation pictures, of these weights in our model: the same answers, judged alike."""
    settings: TrainingSettings = complete(CHOSEN)
    judged = build_model(settings, len(data.classes))
    judged.load_state_dict(model.state_dict())
    truth = data.coco("validation")
    return coco_scores(truth, predict(judged, truth, settings))["AP"]
