"""Every training parameter, once: its name, type, range, default and meaning.

Names and ranges are those of Azure ML's image instance segmentation jobs. The models are frozen, refuse
unknown names, and validate leniently on purpose: KFP and YAML turn 600 into 600.0, and lax validation
turns it back, while 600.5 stays an error.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from . import families
from .advanced import AdvancedSettings
from .rules import Rule, job_error
from .tiling import Tiling
from .words import Word, word


class StochasticOptimizer(Word):
    """Optimisers of `torch.optim`."""

    NONE = "none"
    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class LearningRateScheduler(Word):
    """How the learning rate moves during training."""

    NONE = "none"
    WARMUP_COSINE = "warmup_cosine"
    STEP = "step"


class ModelSize(Word):
    """Sizes of the one-stage models."""

    NONE = "none"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"
    EXTRA_LARGE = "extra_large"


class ValidationMetricType(Word):
    """Which metrics are computed on the validation pictures."""

    NONE = "none"
    COCO = "coco"
    VOC = "voc"
    COCO_VOC = "coco_voc"


class LogTrainingMetrics(Word):
    """Whether metrics are computed on the training pictures too."""

    ENABLE = "enable"
    DISABLE = "disable"


class LogValidationLoss(Word):
    """Whether the loss on the validation pictures is computed."""

    ENABLE = "enable"
    DISABLE = "disable"


Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]


class TrainingSettings(BaseModel):
    """One complete set of training parameters: what a trial needs to know, and all it is told."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{name} can't be set here; use job.set_training_parameters({name}=…)")

    advanced_settings: str | None = None
    """A JSON object with further settings; a mapping in YAML is read too."""
    ams_gradient: bool = False
    """Use the AMSGrad variant of `adam` and `adamw`."""
    beta1: Fraction = 0.9
    """First beta of `adam` and `adamw`."""
    beta2: Fraction = 0.999
    """Second beta of `adam` and `adamw`."""
    checkpoint_frequency: Count = 1
    """Epochs between checkpoints; the best and the last are kept. One is kept every ten minutes besides."""
    checkpoint_run_id: Annotated[str, Field(min_length=1)] | None = None
    """A run whose best model training starts from: a name or KFP run id below `run_root`, a run directory, or
    a checkpoint file, also at a URI. Classes in common keep what was learnt of them."""
    distributed: bool = True
    """Train on every visible GPU, each with training_batch_size pictures, at learning_rate times their
    number. With one GPU, or none, it changes nothing."""
    early_stopping: bool = True
    """End a training that no longer improves."""
    early_stopping_delay: Count = 5
    """Evaluations before patience starts to count."""
    early_stopping_patience: Count = 5
    """Evaluations without improvement after which training ends."""
    enable_onnx_normalization: bool = True
    """Put resizing and normalisation into the ONNX graph, so that it takes a picture as it is; `false`
    gives the network alone, as Azure's file is."""
    evaluation_frequency: Count = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    gradient_accumulation_step: Count = 1
    """Batches whose gradients are added up before a step of the optimiser."""
    layers_to_freeze: CountOrZero | None = None
    """How many of the backbone's stages (conv1, layer1 ... layer4) are frozen, from the input on. Left
    out: 2 with pre-trained weights, 0 from scratch. 5 and more freeze the whole backbone. Of `rfdetr_seg`
    the stages are the patches' embedding and 12 layers; left out: 0."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.005
    """Learning rate at its highest."""
    learning_rate_scheduler: Annotated[LearningRateScheduler, word(LearningRateScheduler)] = (
        LearningRateScheduler.WARMUP_COSINE
    )
    """How the learning rate moves during training."""
    model_name: str = "maskrcnn_resnet50_fpn"
    """The model that is trained."""
    momentum: Fraction = 0.9
    """Momentum of `sgd`."""
    nesterov: bool = True
    """Use Nesterov's momentum with `sgd`."""
    number_of_epochs: Count = 15
    """Passes over the training pictures."""
    number_of_workers: CountOrZero = 4
    """Processes that load pictures; 0 loads them in the training process."""
    optimizer: Annotated[StochasticOptimizer, word(StochasticOptimizer)] = StochasticOptimizer.SGD
    """The optimiser."""
    random_seed: Seed | None = None
    """Seed of sampling and training; left out, one is drawn and written down."""
    step_lr_gamma: Fraction = 0.5
    """Factor by which the `step` schedule lowers the learning rate."""
    step_lr_step_size: Count = 5
    """Epochs between the steps of the `step` schedule."""
    training_batch_size: Count = 2
    """Pictures in a training batch."""
    validation_batch_size: Count = 1
    """Pictures in a validation batch."""
    warmup_cosine_lr_cycles: Fraction = 0.5
    """Cosine periods after warm-up; 0.5 ends at zero."""
    warmup_cosine_lr_warmup_epochs: CountOrZero = 2
    """Epochs of linear warm-up of the `warmup_cosine` schedule."""
    weight_decay: Fraction = 1e-4
    """Weight decay, on weights only: never on biases or normalisation."""
    box_detections_per_image: Count = 100
    """Most detections in a picture."""
    box_score_threshold: Fraction = 0.3
    """Detections of a deployed model have at least this score; metrics don't use it."""
    image_size: Count | None = None
    """Side in pixels of the square that `rfdetr_seg` resizes every picture to: the nearest multiple of 24 is
    taken. Left out: the published one of its model_size, 384, 432, 504 or 624."""
    max_size: Count = 1333
    """Longest picture side in pixels after resizing; wins over `min_size`."""
    min_size: Count = 600
    """Shorter picture side in pixels after resizing."""
    model_size: Annotated[ModelSize, word(ModelSize)] | None = None
    """Size of `rfdetr_seg`; `medium` if left out."""
    multi_scale: bool | None = None
    """Train `rfdetr_seg` on squares of half to one and a half times its side, another for each batch."""
    nms_iou_threshold: Fraction = 0.5
    """Of two boxes of one class that overlap more than this, the weaker is dropped."""
    tile_grid_size: str | None = None
    """Look at every picture as a whole and at `MxN` tiles of it, M along the width, in training, validation
    and prediction: for small objects on large pictures. A pass costs up to 1 + M·N times as much."""
    tile_overlap_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of a tile's side that it has in common with the next one."""
    tile_predictions_nms_threshold: Fraction = 0.25
    """Mask IoU above which detections of different tiles, or of a tile and the whole, are one object."""
    validation_iou_threshold: Annotated[float, Field(ge=0.1, le=1)] = 0.5
    """Mask IoU from which a detection counts as found in the `voc` metrics."""
    validation_metric_type: Annotated[ValidationMetricType, word(ValidationMetricType)] = (
        ValidationMetricType.COCO
    )
    """Which metrics are computed on the validation pictures. `none`: COCO's, once, after the last epoch."""
    log_training_metrics: Annotated[LogTrainingMetrics, word(LogTrainingMetrics)] = LogTrainingMetrics.DISABLE
    """Compute the metrics on the training pictures too."""
    log_validation_loss: Annotated[LogValidationLoss, word(LogValidationLoss)] = LogValidationLoss.DISABLE
    """Compute the loss on the validation pictures too."""

    @field_validator("advanced_settings", mode="before")
    @classmethod
    def _check_advanced(cls, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, Mapping):
            value = json.dumps(dict(value), default=str)
        if not isinstance(value, str):
            raise ValueError("is not legal; give a JSON object, as text or as a mapping")
        try:
            AdvancedSettings.model_validate(_json_object(value))
        except ValidationError as error:
            raise job_error(error, AdvancedSettings) from None
        return value

    @field_validator("tile_grid_size")
    @classmethod
    def _check_grid(cls, value: str | None) -> str | None:
        try:
            Tiling.parse(value or "1x2")
        except ValueError:
            raise ValueError("is not a grid; give the tiles along width and height, e.g. 3x2") from None
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name is not None:
            rule = Rule.of(cls.model_fields[info.field_name])
            if rule.kind in ("int", "float"):  # Python takes True for 1
                raise ValueError(f"is not a number; give {rule.noun}")
        return value

    @property
    def advanced(self) -> AdvancedSettings:
        """The settings inside `advanced_settings`, with their defaults."""
        if self.advanced_settings is None:
            return AdvancedSettings()
        return AdvancedSettings.model_validate(_json_object(self.advanced_settings))


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"advanced_settings={text!r} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"advanced_settings={text!r} must be a JSON object, like {{}}")
    return found


MODEL_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "maskrcnn_resnet18_fpn_light": {"min_size": 320, "max_size": 640, "training_batch_size": 4},
    "rfdetr_seg": {"optimizer": "adamw", "learning_rate": 1e-4},
}
"""What a model changes in the defaults of TrainingSettings."""

PUBLISHED_WEIGHTS: Mapping[str, tuple[str, ...]] = {
    "maskrcnn_resnet18_fpn": ("imagenet",),
    "maskrcnn_resnet18_fpn_light": ("none", "imagenet"),
    "maskrcnn_resnet34_fpn": ("imagenet",),
    "maskrcnn_resnet50_fpn": ("coco", "imagenet"),
    "maskrcnn_resnet50_fpn_v2": ("coco", "imagenet"),
    "maskrcnn_resnet101_fpn": ("imagenet",),
    "maskrcnn_resnet152_fpn": ("imagenet",),
    "rfdetr_seg": ("coco",),
}
"""Which weights are published for a model; the first is what it starts from unless told otherwise."""
MODEL_NAMES = tuple(PUBLISHED_WEIGHTS)
"""The registered models; `maskline.models` has a builder for each."""


def complete(chosen: Mapping[str, Any]) -> TrainingSettings:
    """The settings a trial trains with: what the user and the sampler chose over the model's defaults.

    Args:
        chosen: values by parameter name; all others get the default of the model, then of the class.

    Raises:
        pydantic.ValidationError: a value is outside its range, or a name is unknown.
    """
    name = chosen.get("model_name", TrainingSettings.model_fields["model_name"].default)
    return TrainingSettings.model_validate({**MODEL_DEFAULTS.get(name, {}), **chosen})


def weights_wanted(settings: TrainingSettings) -> str:
    """Where training starts: `coco`, `imagenet`, `none`, or a file or URI."""
    chosen = settings.advanced.pretrained_weights
    return chosen if chosen is not None else PUBLISHED_WEIGHTS.get(settings.model_name, ("none",))[0]


def _starts(settings: TrainingSettings) -> list[str]:
    """What contradicts itself about where training starts, and what it is judged by."""
    found = []
    run, weights = settings.checkpoint_run_id, settings.advanced.pretrained_weights
    if run is not None and weights is not None:
        found.append(
            f"checkpoint_run_id={run} and advanced_settings.pretrained_weights={weights} are two starts of "
            "one training; remove one"
        )
    if settings.layers_to_freeze and run is None and weights_wanted(settings) == "none":
        found.append(
            f"layers_to_freeze={settings.layers_to_freeze} would freeze random layers, since training starts "
            "from scratch; remove it, or set advanced_settings.pretrained_weights"
        )
    if settings.advanced.primary_iou != "0.50" and "voc" in settings.validation_metric_type:
        found.append(
            f"advanced_settings.primary_iou={settings.advanced.primary_iou} has no meaning for "
            f"validation_metric_type={settings.validation_metric_type}, whose score is VOC's; choose coco"
        )
    return found


def _unpublished(settings: TrainingSettings) -> list[str]:
    """Whether the weights asked for are published for the model."""
    wanted, there = weights_wanted(settings), PUBLISHED_WEIGHTS[settings.model_name]
    if wanted not in ("coco", "imagenet") or wanted in there:
        return []
    instead = ", ".join(dict.fromkeys([*(one for one in there if one != "none"), "none"]))
    return [
        f"advanced_settings.pretrained_weights={wanted}: none are published for {settings.model_name}; "
        f"choose {instead}, or a file or URI"
    ]


def obstacles(settings: TrainingSettings) -> list[str]:
    """Why these settings can't be trained with: one line a reason, empty if they can.

    Looks at what was set, not at defaults: models that aren't registered, parameters of another family,
    values that are legal one by one and impossible together.
    """
    found = []
    if settings.tile_grid_size is None:
        for name in ("tile_overlap_ratio", "tile_predictions_nms_threshold"):
            if name in settings.model_fields_set:
                found.append(
                    f"{name}={getattr(settings, name)} has no meaning without tile_grid_size; set that, or "
                    f"remove {name}"
                )
    if settings.model_name not in MODEL_NAMES:
        found.append(
            f"model_name={settings.model_name} is not a registered model; "
            f"choose one of {', '.join(MODEL_NAMES)}"
        )
    else:
        found += _unpublished(settings) + families.foreign(settings) + families.beyond(settings)
    found += _starts(settings)
    for name in ("optimizer", "learning_rate_scheduler"):
        if getattr(settings, name) == "none":
            kind = type(getattr(settings, name))
            words = ", ".join(m.value for m in kind if m != "none")
            found.append(f"{name}=none leaves nothing to train with; choose one of {words}")
    for name in ("beta1", "beta2"):
        if getattr(settings, name) == 1:
            found.append(f"{name}=1 never forgets a gradient, and torch refuses it; choose less than 1")
    if settings.optimizer == "sgd" and settings.nesterov and settings.momentum == 0:
        found.append("nesterov=true needs a momentum above 0; set nesterov: false or raise momentum")
    if settings.min_size > settings.max_size:
        found.append(
            f"min_size={settings.min_size} is above max_size={settings.max_size}; "
            "the shorter side can't be longer than the longest"
        )
    asked = "early_stopping" in settings.model_fields_set and settings.early_stopping
    if asked and settings.validation_metric_type == "none":
        found.append(
            "early_stopping=true has nothing to go by: validation_metric_type=none measures the last epoch "
            "alone; remove one of them"
        )
    advanced = settings.advanced
    for name, usual in (("onnx_batch", False), ("onnx_precision", "fp32"), ("onnx_proposals", None)):
        value = getattr(advanced, name)
        if value != usual and not settings.enable_onnx_normalization:
            found.append(
                f"advanced_settings.{name}={_plain(value)} needs enable_onnx_normalization=true: the network "
                "alone takes one picture, resized and normalised by you, as trained; remove one of the two"
            )
    if advanced.onnx_precision not in families.precisions(settings.model_name):
        found.append(
            f"advanced_settings.onnx_precision={advanced.onnx_precision} is not to be had for "
            f"model_name={settings.model_name}: its graph is made for 32 bits; remove it"
        )
    if advanced.onnx_proposals is not None and not families.has_proposals(settings.model_name):
        found.append(
            f"advanced_settings.onnx_proposals={advanced.onnx_proposals} belongs to Mask R-CNN, and has no "
            f"meaning for model_name={settings.model_name}; remove it"
        )
    for name in ("stream_image_files", "apply_mosaic_for_yolo"):
        if getattr(advanced, name):
            found.append(f"advanced_settings.{name}=true can't be honoured: not built yet; remove it")
    return found


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
