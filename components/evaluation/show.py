"""Chosen pictures as the report shows them: labels and predictions side by side."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from maskline.errors import DataError
from maskline.overlay import Colour, jpeg_uri, overlay_masks
from maskline.pictures import open_upright

from .choose import PictureScore

LEAST = 400
"""Width in pixels that small pictures are enlarged to, so that there is room for labels."""


def show(
    chosen: Sequence[PictureScore],
    truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    colours: Mapping[int, Colour],
) -> list[dict[str, Any]]:
    """Each picture with masks over it, as `data:` URIs, with its score.

    A picture that can't be opened any more is shown as the reason why.

    Args:
        chosen: which pictures, in this order.
        truth: the split.
        predictions: those to draw, of any picture.
        colours: by category id.

    Returns:
        For each: name, f1, hits, false, missed, problem (empty if all is well), truth, predicted.
    """
    images = {image["id"]: image for image in truth["images"]}
    names = {category["id"]: category["name"] for category in truth["categories"]}
    return [
        {
            "name": PurePath(images[score.image_id]["file_name"]).name,
            "f1": score.f1,
            "hits": score.hits,
            "false": score.false,
            "missed": score.missed,
            **_drawn(
                images[score.image_id]["file_name"],
                _of(truth["annotations"], score.image_id),
                _of(predictions, score.image_id),
                colours,
                names if len(names) > 1 else {},
            ),
        }
        for score in chosen
    ]


def _drawn(
    path: str,
    objects: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    colours: Mapping[int, Colour],
    names: Mapping[int, str],
) -> dict[str, str]:
    try:
        image = open_upright(path)
    except (DataError, OSError) as error:
        return {"problem": f"The picture can't be opened: {error}", "truth": "", "predicted": ""}
    return {
        "problem": "",
        "truth": jpeg_uri(overlay_masks(image, objects, colours, least=LEAST)),
        "predicted": jpeg_uri(overlay_masks(image, detections, colours, names, LEAST)),
    }


def _of(records: Sequence[Mapping[str, Any]], image_id: int) -> list[Mapping[str, Any]]:
    return [record for record in records if record["image_id"] == image_id]
