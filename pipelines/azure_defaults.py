"""The defaults of Azure ML's trainer, and why some of ours are others."""

from collections.abc import Mapping
from typing import Any

from maskline.settings import TrainingSettings

AZURE: Mapping[str, Any] = {
    "advanced_settings": None,
    "ams_gradient": False,
    "beta1": 0.9,
    "beta2": 0.999,
    "checkpoint_frequency": 1,
    "checkpoint_run_id": None,
    "distributed": True,
    "early_stopping": True,
    "early_stopping_delay": 5,
    "early_stopping_patience": 5,
    "enable_onnx_normalization": False,
    "evaluation_frequency": 1,
    "gradient_accumulation_step": 1,
    "layers_to_freeze": None,
    "learning_rate": 0.005,
    "learning_rate_scheduler": "warmup_cosine",
    "model_name": "maskrcnn_resnet50_fpn",
    "momentum": 0.9,
    "nesterov": True,
    "number_of_epochs": 15,
    "number_of_workers": 4,
    "optimizer": "sgd",
    "random_seed": None,
    "step_lr_gamma": 0.5,
    "step_lr_step_size": 5,
    "training_batch_size": 2,
    "validation_batch_size": 1,
    "warmup_cosine_lr_cycles": 0.45,
    "warmup_cosine_lr_warmup_epochs": 2,
    "weight_decay": 0.0001,
    "box_detections_per_image": 100,
    "box_score_threshold": 0.3,
    "image_size": None,
    "max_size": 1333,
    "min_size": 600,
    "model_size": None,
    "multi_scale": None,
    "nms_iou_threshold": 0.5,
    "tile_grid_size": None,
    "tile_overlap_ratio": 0.25,
    "tile_predictions_nms_threshold": 0.25,
    "validation_iou_threshold": 0.5,
    "validation_metric_type": "voc",
    "log_training_metrics": "disable",
    "log_validation_loss": "enable",
}
"""What Azure ML's trainer takes for Mask R-CNN where a job says nothing."""

OTHER_VALUE: Mapping[str, str] = {
    "enable_onnx_normalization": "without it whoever calls the graph has to resize and normalise as training "
    "did; Azure's `true` divides by 255 and leaves out mean and deviation",
    "warmup_cosine_lr_cycles": "the cosine ends at 0; with 0.45 it ends at 2.45 % of the rate",
    "validation_metric_type": "COCO's matching looks for the best free object; `voc` is there to choose",
    "log_validation_loss": "it takes a second pass over the validation pictures, and nothing is chosen by it",
}
"""Parameters whose default is another than Azure's, with the reason."""

OTHER_MEANING: Mapping[str, str] = {
    "warmup_cosine_lr_warmup_epochs": "the first step has a small rate, not 0; warm-up takes at most half of "
    "the training, so that a short one reaches the full rate",
    "early_stopping_patience": "exactly so many evaluations; Azure waits for one more",
    "early_stopping_delay": "counted in evaluations, not in epochs",
    "gradient_accumulation_step": "the loss that is reported is not divided by it; the last group of an "
    "epoch counts by the pictures it has; the schedule moves by steps of the optimiser",
    "layers_to_freeze": "0 from scratch, else 2 stages as on Azure",
    "box_score_threshold": "for the deployed model only; metrics see all detections",
    "random_seed": "drawn from the run's name and written down, so that every run can be repeated",
    "checkpoint_frequency": "`last` and `best` are kept; training continues from `last`; Azure uploads all",
    "tile_grid_size": "works for masks, and joins an object's parts on several tiles; Azure refuses it "
    "for this task",
    "tile_predictions_nms_threshold": "an IoU of masks; on Azure of boxes, and for object detection alone",
    "image_size": "the square of `rfdetr_seg`; on Azure it does nothing for instance segmentation",
    "model_size": "the size of `rfdetr_seg`; likewise",
    "multi_scale": "of `rfdetr_seg`; likewise",
    "evaluation_frequency": "an epoch that is not evaluated reports no metric; Azure repeats the last",
}
"""Parameters with Azure's default that do something else, with what and why."""


def azure_table() -> str:
    """Every default that differs from Azure's, in value or in what it does, as a Markdown table."""
    rows = ["| parameter | Azure ML | Maskline | why |", "| --- | --- | --- | --- |"]
    for name in TrainingSettings.model_fields:
        ours, theirs = TrainingSettings.model_fields[name].default, AZURE[name]
        if name in OTHER_VALUE:
            rows.append(f"| `{name}` | {_shown(theirs)} | {_shown(ours)} | {OTHER_VALUE[name]} |")
        elif name in OTHER_MEANING:
            rows.append(f"| `{name}` | {_shown(theirs)} | the same | {OTHER_MEANING[name]} |")
    return "\n".join(rows) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
