"""Write the prepared data set: COCO JSON a split, the findings, the digest."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from maskline.annotations import Finding
from maskline.artifacts import FINDINGS
from maskline.dataset import PreparedDataset

from .check import CheckedPicture

Splits = Mapping[str, Sequence[CheckedPicture]]


def write(out: Path, splits: Splits, seed: int | None, findings: Sequence[Finding]) -> PreparedDataset:
    """Write all files of a prepared data set into the folder `out`; `dataset.json` comes last."""
    classes = tuple(sorted({o.label for pictures in splits.values() for p in pictures for o in p.objects}))
    for name, pictures in splits.items():
        (out / f"{name}.json").write_text(json.dumps(as_coco(pictures, classes)) + "\n", encoding="utf-8")
    prepared = PreparedDataset(
        path=out,
        classes=classes,
        digest=digest(splits, classes, seed),
        splits={name: _count(pictures) for name, pictures in splits.items()},
        seed=seed,
        findings=count_kinds(findings),
    )
    prepared.write()
    return prepared


def as_coco(pictures: Iterable[CheckedPicture], classes: Sequence[str]) -> dict[str, Any]:
    """Pictures as COCO's instances JSON, in the order given; all ids count from 1."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: number for number, name in enumerate(classes, 1)}
    for picture in pictures:
        images.append(
            {
                "id": len(images) + 1,
                "file_name": picture.file,
                "width": picture.width,
                "height": picture.height,
                "sha256": picture.sha256,
            }
        )
        for found in picture.objects:
            mask = found.mask
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": ids[found.label],
                    "segmentation": {"size": [mask.height, mask.width], "counts": mask.counts},
                    "bbox": list(mask.bbox),
                    "area": mask.area,
                    "iscrowd": int(found.crowd),
                }
            )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def digest(splits: Splits, classes: Sequence[str], seed: int | None) -> str:
    """SHA-256 over classes, splits, the seed that made them, the bytes of the pictures, and masks.

    Paths don't count: the same data at another place have the same digest.
    """
    found = hashlib.sha256(json.dumps([list(classes), seed]).encode())
    for name, pictures in splits.items():
        found.update(json.dumps(name).encode())
        for picture in pictures:
            found.update(json.dumps([picture.width, picture.height, picture.key]).encode())
    return found.hexdigest()


def write_findings(out: Path, findings: Iterable[Finding], part: str) -> None:
    """Append findings to `findings.jsonl`, one a line, with the part of the data they are from."""
    with (out / FINDINGS).open("a", encoding="utf-8") as stream:
        for found in findings:
            line = {
                "part": part,
                "kind": found.kind,
                "where": found.where,
                "what": found.what,
                "action": found.action,
                "lost": found.lost,
            }
            stream.write(json.dumps(line) + "\n")


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each kind, the most frequent first."""
    return dict(Counter(f.kind for f in sorted(findings, key=lambda f: f.kind)).most_common())


def _count(pictures: Sequence[CheckedPicture]) -> dict[str, int]:
    objects = [o for p in pictures for o in p.objects]
    return {
        "images": len(pictures),
        "instances": sum(not o.crowd for o in objects),
        "crowds": sum(o.crowd for o in objects),
        "background": sum(not p.objects for p in pictures),
    }
