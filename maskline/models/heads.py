"""Head weights for other classes: what a head knows of a class goes where that class is now."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from .family import Family


def match_rows(
    own: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    known: Sequence[str],
    wanted: Sequence[str],
    family: Family,
) -> dict[str, Tensor]:
    """The head layers of a model, with the rows of the classes that the weights know too.

    Args:
        own: the model's tensors by name; the rows of its other classes stay as they are.
        weights: tensors by name.
        known: the classes of the weights, in their order.
        wanted: the classes of the model, in its order.
        family: of the model, whose layers with rows for each class are meant.

    Returns:
        Tensors of the model's shapes, by name; layers of another width are left out.
    """
    first = int(family.background)
    places = {name: place for place, name in enumerate(known, start=first)}
    pairs = [(0, 0)] * first
    pairs += [(n, places[name]) for n, name in enumerate(wanted, start=first) if name in places]
    found = {}
    for layer, rows in family.class_rows.items():
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name not in weights or name not in own:
                continue
            there, here = weights[name], own[name].clone()
            if there.shape[1:] != here.shape[1:] or len(there) != rows * (len(known) + first):
                continue
            for mine, theirs in pairs:
                here[rows * mine : rows * (mine + 1)] = there[rows * theirs : rows * (theirs + 1)]
            found[name] = here
    return found
