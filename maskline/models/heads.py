"""Head weights for other classes: what a head knows of a class goes where that class is now."""

from collections.abc import Mapping, Sequence

from torch import Tensor

ROWS = {
    "roi_heads.box_predictor.cls_score": 1,
    "roi_heads.box_predictor.bbox_pred": 4,
    "roi_heads.mask_predictor.mask_fcn_logits": 1,
}
"""Layers that have rows for each class, the background first, and how many."""


def match_rows(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    known: Sequence[str],
    wanted: Sequence[str],
) -> dict[str, Tensor]:
    """The head layers of a model, with the rows of the classes that the weights know too.

    Args:
        own: the model's tensors by name; the rows of its other classes stay as they are.
        weights: tensors by name.
        known: the classes of the weights, in their order.
        wanted: the classes of the model, in its order.

    Returns:
        Tensors of the model's shapes, by name; layers of another width are left out.
    """
    places = {name: place for place, name in enumerate(known, start=1)}
    pairs = [(0, 0)] + [(n, places[name]) for n, name in enumerate(wanted, start=1) if name in places]
    found = {}
    for layer, rows in ROWS.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name not in weights or name not in own:
                continue
            there, here = weights[name], own[name].clone()
            if there.shape[1:] != here.shape[1:] or len(there) != rows * (len(known) + 1):
                continue
            for mine, theirs in pairs:
                here[rows * mine : rows * (mine + 1)] = there[rows * theirs : rows * (theirs + 1)]
            found[name] = here
    return found
