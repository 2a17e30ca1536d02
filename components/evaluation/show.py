"""Chosen pictures as the report shows them: labels and predictions side by side."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from maskline.errors import DataError
from maskline.overlay import Colour, jpeg_uri, overlay_masks
from maskline.pictures import open_upright
from maskline.scoring import Scoring

from .choose import PictureScore

LEAST = 400
"""Width in pixels that small pictures are enlarged to, so that there is room for labels."""


def show(
    chosen: Sequence[PictureScore],
    images: Mapping[int, str],
    scoring: Scoring,
    colours: Mapping[int, Colour],
    threshold: float,
) -> list[dict[str, Any]]:
    """Each picture with masks over it, as `data:` URIs, with its score.

    A picture that can't be opened any more is shown as the reason why.

    Args:
        chosen: which pictures, in this order.
        images: their files by id.
        scoring: objects and predictions.
        colours: by category id.
        threshold: predictions from this score on are drawn.

    Returns:
        For each: name, f1, hits, false, missed, problem (empty if all is well), truth, predicted.
    """
    names = scoring.names if len(scoring.names) > 1 else {}
    shown = []
    for score in chosen:
        objects, predictions = scoring.picture(score.image_id)
        strong = [one for one in predictions if one["score"] >= threshold]
        file = images[score.image_id]
        found = {
            "name": PurePath(file).name,
            "f1": score.f1,
            "hits": score.hits,
            "false": score.false,
            "missed": score.missed,
        }
        shown.append(found | _drawn(file, objects, strong, colours, names))
    return shown


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
