"""What stays together when data are split: copies of a picture, and pictures of one group."""

from collections import Counter
from collections.abc import Iterator, Sequence

from maskline.annotations import Finding

from .check import CheckedPicture
from .split import BACKGROUND, Unit


def units(pictures: Sequence[CheckedPicture]) -> tuple[list[Unit], dict[str, str]]:
    """Pictures as units of a split, and the unit's key of each picture by its digest.

    Pictures are together that have the same bytes, or share a group, or are tied by a chain of those. A
    unit's key is the least digest in it, so that neither the names of groups nor the order of pictures
    matter to the split.
    """
    roots: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (above := roots.setdefault(node, node)) != node:
            roots[node] = roots[above]
            node = above
        return node

    for picture in pictures:
        own = root(("", picture.sha256))
        for group in picture.groups:
            one, other = sorted((own, root(("group", group))))
            roots[other] = own = one
    # A root with "" is the digest that sorts first: no group is a root once a picture is tied to it.
    keys = {picture.sha256: root(("", picture.sha256))[1] for picture in pictures}
    classes: dict[str, set[str]] = {}
    for picture in pictures:
        classes.setdefault(picture.sha256, set()).update(picture.classes)
    counts: dict[str, Counter[str]] = {}
    for sha256, found in classes.items():
        counts.setdefault(keys[sha256], Counter()).update(found or {BACKGROUND})
    sizes = Counter(keys.values())
    return [Unit(key, found, sizes[key]) for key, found in counts.items()], keys


def shared_groups(
    one: str, known: Sequence[CheckedPicture], other: str, new: Sequence[CheckedPicture]
) -> Iterator[Finding]:
    """Pictures of `other` whose group is in `one` too, where both were given: the first of each group."""
    first = {group: picture for picture in reversed(known) for group in picture.groups}
    seen = set[str]()
    for picture in new:
        for group in picture.groups:
            if group in first and group not in seen:
                seen.add(group)
                what = f"its group {group!r} is in {one} too, with {first[group].where} for one"
                yield Finding("shared_group", picture.where, what, f"kept in {other}")
