"""The prepared data set: what data_preparation writes and every other stage reads.

A folder with `dataset.json` and one COCO JSON file a split. Category ids are 1 ... K in the order of
`classes`; 0 is the background, whatever the classes are called. Masks are compressed RLE at the size of
the upright picture (EXIF orientation applied). `file_name` is an absolute path or a URI.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .artifacts import DATASET, SplitName
from .errors import DataError

FORMAT = 1


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
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise DataError(f"{folder} is a prepared data set of another format; prepare it again")
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
        """A split as a COCO dictionary: images, annotations, categories.

        Raises:
            DataError: the data set has no such split.
        """
        if split not in self.splits:
            raise DataError(f"{self.path} has no {split} split; it has {', '.join(self.splits)}")
        found: dict[str, Any] = json.loads(self.split_file(split).read_text(encoding="utf-8"))
        return found

    @property
    def evaluation_split(self) -> SplitName:
        """The split the final numbers come from: test where there is one, else validation."""
        return "test" if "test" in self.splits else "validation"
