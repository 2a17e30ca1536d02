"""Words for what data and models are, under Azure's names."""

from .inputs import DataMode, DataType, ModelType

__all__ = ["AssetTypes", "InputOutputModes"]


class AssetTypes:
    """What an Input or an Output can be."""

    MLTABLE = DataType.MLTABLE.value
    URI_FILE = DataType.URI_FILE.value
    URI_FOLDER = DataType.URI_FOLDER.value
    COCO = DataType.COCO.value
    AZURE_JSONL = DataType.AZURE_JSONL.value
    CUSTOM_MODEL = ModelType.CUSTOM_MODEL.value
    MLFLOW_MODEL = ModelType.MLFLOW_MODEL.value
    TRITON_MODEL = ModelType.TRITON_MODEL.value


class InputOutputModes:
    """How Azure brings data to a machine."""

    MOUNT = DataMode.MOUNT.value
    DOWNLOAD = DataMode.DOWNLOAD.value
    UPLOAD = DataMode.UPLOAD.value
    RO_MOUNT = DataMode.RO_MOUNT.value
    RW_MOUNT = DataMode.RW_MOUNT.value
    EVAL_MOUNT = DataMode.EVAL_MOUNT.value
    EVAL_DOWNLOAD = DataMode.EVAL_DOWNLOAD.value
    DIRECT = DataMode.DIRECT.value
