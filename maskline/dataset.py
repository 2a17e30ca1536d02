"""The prepared data set: what data_preparation writes and every other stage reads. Format 2.

A folder with `dataset.json`, one COCO JSON file a split (`train.json`, `validation.json`, `test.json`),
`findings.jsonl`, and `pictures/` if pictures were copied into it.

`dataset.json` holds `format` (2), and the attributes of `PreparedDataset` but `path`.

A split's file is COCO's instances JSON, as every tool reads it:

    images       id from 1; file_name, width and height of the upright picture (EXIF orientation applied);
                 sha256 of the file's bytes
    annotations  id from 1; image_id; category_id; segmentation, a compressed RLE at the size of the upright
                 picture; bbox [x, y, width, height] and area of the mask, in pixels; iscrowd 0 or 1
    categories   id 1 ... K in the order of `classes`; 0 is the background, whatever the classes are called

`file_name` is an absolute path where the picture was left in place, and else relative to the folder, so that
the folder can be moved with its pictures; `PreparedDataset.coco` gives absolute paths in both cases.
Pictures and annotations stand in an order of their content.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .artifacts import DATASET, SplitName
from .errors import DataError

FORMAT = 2


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set on disk.

    Attributes:
        path: its folder.
        classes: names of the classes; category id is the index + 1.
        digest: SHA-256 over pictures, masks, classes and splits; equal data have equal digests.
        splits: pictures and instances a split: {"train": {"images": 80, "instances": 412}, ...}.
        seed: of the split; None when the user gave the validation data.
        findings: how many records were repaired or refused, by kind.
    """

    path: Path
    classes: tuple[str, ...]
    digest: str
    splits: dict[str, dict[str, int]]
    seed: int | None = None
    findings: dict[str, int] | None = None

    @classmethod
    def read(cls, path: str | Path) -> "PreparedDataset":
        """Read the description of a prepared data set.

        Raises:
            DataError: the folder holds none, or one of another format.
        """
        folder = Path(path)
        try:
            data = json.loads((folder / DATASET).read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise DataError(f"{folder} holds no prepared data set: {error}") from error
        found = data.pop("format", None) if isinstance(data, dict) else None
        if found != FORMAT:
            raise DataError(
                f"{folder} is a prepared data set of format {found}, and this version reads format {FORMAT}; "
                "prepare it again"
            )
        return cls(path=folder, **{**data, "classes": tuple(data["classes"])})

    def write(self) -> None:
        """Write `dataset.json`."""
        data = {"format": FORMAT, **asdict(self)}
        del data["path"]
        text = json.dumps(data, indent=2, ensure_ascii=False)
        (self.path / DATASET).write_text(text + "\n", encoding="utf-8")

    def split_file(self, split: SplitName) -> Path:
        """The COCO JSON file of a split."""
        return self.path / f"{split}.json"

    def coco(self, split: SplitName) -> dict[str, Any]:
        """A split as a COCO dictionary: images, annotations, categories; `file_name` is absolute.

        Raises:
            DataError: the data set has no such split.
        """
        found: dict[str, Any] = json.loads(self.split_file(self.known(split)).read_text(encoding="utf-8"))
        folder = os.path.abspath(self.path)
        for image in found["images"]:
            image["file_name"] = os.path.join(folder, image["file_name"])
        return found

    def known(self, split: SplitName) -> SplitName:
        """The same split, if the data set has it.

        Raises:
            DataError: it has no such split.
        """
        if split not in self.splits:
            raise DataError(f"{self.path} has no {split} split; it has {', '.join(self.splits)}")
        return split

    @property
    def evaluation_split(self) -> SplitName:
        """The split the final numbers come from: test where there is one, else validation."""
        return "test" if "test" in self.splits else "validation"
