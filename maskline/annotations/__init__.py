"""Annotations of any format, in one checked form: one file a reader, one door to them all."""

from maskline.outlines import mask_to_rings

from .formats import KINDS, read_annotations
from .masks import Mask, rasterise
from .records import AnnotationSet, Finding, Instance, Kind, PictureRecord, Refusal
from .shapes import Polygon, Rle

__all__ = [
    "KINDS",
    "AnnotationSet",
    "Finding",
    "Instance",
    "Kind",
    "Mask",
    "PictureRecord",
    "Polygon",
    "Refusal",
    "Rle",
    "mask_to_rings",
    "rasterise",
    "read_annotations",
]
