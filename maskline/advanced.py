"""Settings beyond Azure's training parameters: what the JSON object `advanced_settings` may hold."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class AdvancedSettings(BaseModel):
    """The JSON object that `advanced_settings` holds: Azure's three keys and Maskline's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    apply_automl_train_augmentations: bool = True
    """Training pictures are flipped, zoomed into and out of, resized and changed in colour, at random."""
    horizontal_flip: bool = True
    """Flips are among these changes; say false where left and right tell the classes."""
    large_scale_jitter: bool = False
    """Zoom between a tenth and twice the size, for long trainings on much data, in place of a mild zoom."""
    copy_paste: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training pictures that get objects of another picture pasted onto them."""
    cache_mib: Annotated[int, Field(ge=0)] = 0
    """MiB of memory in which resized training pictures are kept from epoch to epoch; 0 keeps none."""
    stream_image_files: bool = False
    """Azure: mount the datastore instead of downloading."""
    apply_mosaic_for_yolo: bool = False
    """Azure: mosaic augmentation of YOLO models."""
    pretrained_weights: str | None = None
    """Where training starts: `coco`, `imagenet` (the backbone only), `none` (from scratch), or a file or
    URI of weights. Left out, it is the best that is published for the model."""
    primary_iou: Literal["0.50", "0.50:0.95"] = "0.50"
    """Mask IoU of the primary metric: at 0.50, as Azure's, or averaged over 0.50 to 0.95, as COCO's."""
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share of the records that may be refused before data preparation fails."""
    verify: Literal["header", "scaled", "full"] = "scaled"
    """How far pictures are checked before training: `header` reads sizes only, `scaled` decodes JPEG files at
    an eighth of their size and all others in full, `full` decodes everything at full size."""
    group_column: str | None = None
    """A field of Azure's records, COCO's images or LabelMe's files, or `folder`: pictures with the same value
    in it stay together when data are split."""
    materialise: bool | None = None
    """Copy pictures into the prepared data set, so that it can be moved. Left out, those are copied that had
    to be fetched or unpacked, and pictures on this machine or a volume stay where they are."""
    metric_score_threshold: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """Detections below this score don't count in metrics; deployment has `box_score_threshold`."""
    voc_matching: Literal["voc", "azure"] = "voc"
    """How `voc` matches detections: by VOC's own rule, or by Azure's, where crowd regions compete with the
    objects. In both, a detection of an object that was found already is false."""
    mask_pixel_score_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """A pixel belongs to a mask when its probability is above this."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of training: `auto` is bf16 or fp16 on a GPU that has it, and fp32 on a CPU. What a device
    lacks is replaced by fp32, and said."""
    deterministic: bool = False
    """On a GPU, use only algorithms that give the same bits every time; slower. A CPU always does."""
    torch_compile: bool = False
    """Compile the backbone with `torch.compile`; pays off in long trainings on a GPU. On a CPU, which gains
    nothing, and where compiling fails, training goes on without it, and says so."""
    grad_clip_type: Literal["value", "norm", "none"] = "value"
    """How gradients are kept from exploding: each element by itself, all by their common length, or not."""
    grad_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient. Left out, it is 5 for `value` and 1 for `norm`."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Above 0, an exponential moving average of the weights is evaluated and kept as the best, e.g. 0.999."""
    onnx_precision: Literal["fp32", "fp16", "int8"] = "fp32"
    """Numbers that the ONNX file computes with. `fp16` halves its size, `int8` is for CPUs, calibrated on the
    training pictures; the model card has size, time and AP beside those of `fp32`."""
    onnx_proposals: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Regions of a picture that a Mask R-CNN's heads look at in the ONNX file, at the most. Left out, it is
    the model's own number, 1000, or 250 of the light model. Fewer save time; the model card has time and AP
    of both."""
    onnx_thresholds: Literal["inputs", "fixed"] = "inputs"
    """`score_threshold`, `max_detections` and `mask_threshold` of the ONNX file: inputs that have the job's
    values unless they are given, or baked in."""
    onnx_batch: bool = False
    """The ONNX file takes `images`, N x H x W x 3 of one size, instead of one `image`."""
