"""The data report: one HTML file, and the same numbers as JSON, for a person to judge data by."""

import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from maskline.artifacts import DATA_NUMBERS
from maskline.dataset import PreparedDataset
from maskline.errors import DataError
from maskline.overlay import Colour, class_colours, css, jpeg_uri, overlay_masks
from maskline.page import Table, render_page
from maskline.pictures import open_upright

from .describe import advice, describe

SHOTS = 24
"""Pictures that are shown."""
LEAST = 320
"""Width in pixels that small pictures are enlarged to."""
CLASSES_SHOWN = 60
_TEMPLATE = Path(__file__).with_name("report.html.j2")
_SECTIONS = {
    "summary": "Summary",
    "findings": "Findings",
    "pictures": "Pictures",
    "classes": "Classes",
    "sizes": "Sizes",
}


def write_report(
    dataset: PreparedDataset, file: Path, *, source: str = "", problems: Sequence[str] = ()
) -> dict[str, Any]:
    """Write the report of a prepared data set, and its numbers as DATA_NUMBERS into the data set's folder.

    Args:
        dataset: what is shown; its pictures are opened.
        file: HTML file to write.
        source: what was read, to be named on the page; empty for a data set of a run.
        problems: why the data can't be trained on; empty if they can.

    Returns:
        The numbers, see `describe`.
    """
    described = describe(dataset)
    described["problems"] = list(problems)
    text = json.dumps(described, indent=1, ensure_ascii=False)
    (dataset.path / DATA_NUMBERS).write_text(text + "\n", encoding="utf-8")
    colours = class_colours(len(dataset.classes))
    shots, seen = _shots(dataset, colours)
    names = list(described["splits"])
    page = render_page(
        _TEMPLATE,
        title=f"Data report: {PurePath(source).name}" if source else "Data report",
        subtitle=f"{source}: {_subtitle(described)}" if source else _subtitle(described),
        sections=_SECTIONS,
        problems=problems,
        advice=[] if problems else advice(described),
        headline=_headline(described),
        splits=names,
        overview=_overview(described),
        classes=_classes(described, colours),
        more_classes=max(0, len(described["classes"]) - CLASSES_SHOWN),
        charts=_charts(described),
        coco=_coco_sizes(described),
        picture_sizes=_picture_sizes(described),
        findings=described["findings"],
        shots=shots,
        everything=len(shots) == _total(described, "pictures"),
        legend_entries=[(dataset.classes[key - 1], css(colours[key])) for key in sorted(seen)],
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    return described


def _subtitle(described: Mapping[str, Any]) -> str:
    seed = described["seed"]
    how = "as given" if seed is None else f"split with seed {seed}"
    return f"{' + '.join(described['splits'])}, {how}; digest {described['digest'][:12]}"


def _total(described: Mapping[str, Any], key: str) -> int:
    return sum(int(split[key]) for split in described["splits"].values())


def _headline(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    lost = sum(kind["lost"] for kind in described["findings"].values())
    pictures, objects = _total(described, "pictures"), _total(described, "instances")
    return [
        (f"{pictures:,}", "pictures"),
        (f"{objects:,}", "objects"),
        (f"{len(described['classes']):,}", "class" if len(described["classes"]) == 1 else "classes"),
        (f"{objects / max(1, pictures):.1f}", "objects a picture"),
        (f"{lost:,}", "records refused"),
    ]


def _overview(described: Mapping[str, Any]) -> Table:
    rows = [
        [
            name,
            *(f"{split[key]:,}" for key in ("pictures", "instances", "crowds", "background")),
            " × ".join(f"{spread[1]:.0f}" for spread in (split["widths"], split["heights"]) if spread),
        ]
        for name, split in described["splits"].items()
    ]
    heads = ("pictures", "objects", "crowd regions", "without objects", "median size")
    return Table([("", ""), *((head, "n") for head in heads)], rows)


def _classes(described: Mapping[str, Any], colours: Mapping[int, Colour]) -> list[dict[str, Any]]:
    """The most frequent classes: name, colour, and by split instances, pictures and share of the largest."""
    rows = [
        {
            "name": name,
            "colour": css(colours[key]),
            "splits": [split["by_class"][name] for split in described["splits"].values()],
        }
        for key, name in enumerate(described["classes"], 1)
    ]
    rows.sort(key=lambda row: -sum(found["instances"] for found in row["splits"]))
    largest = max((f["instances"] for row in rows for f in row["splits"]), default=0)
    for row in rows:
        row["widths"] = [100 * found["instances"] / max(1, largest) for found in row["splits"]]
    return rows[:CLASSES_SHOWN]


def _charts(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns of a chart each: for every bin its label and, by split, the count and the share in percent."""
    wanted = {
        "instances_per_picture": ("Objects a picture", _count_label, "pictures"),
        "relative_sizes": ("Size of an object: root of its share of the picture", _percent_label, "objects"),
        "object_ratios": ("Width by height of objects", _ratio_label, "objects"),
        "picture_ratios": ("Width by height of pictures", _ratio_label, "pictures"),
    }
    charts: list[dict[str, Any]] = []
    for key, (title, label, unit) in wanted.items():
        found = [split[key] for split in described["splits"].values()]
        totals = [max(1, sum(bins["counts"])) for bins in found]
        edges = found[0]["from"]
        columns: list[dict[str, Any]] = [
            {
                "label": label(edges, place),
                "bars": [
                    {"count": bins["counts"][place], "share": 100 * bins["counts"][place] / total}
                    for bins, total in zip(found, totals, strict=True)
                ],
            }
            for place in range(len(edges))
        ]
        highest = max(bar["share"] for column in columns for bar in column["bars"]) or 1
        charts.append({"title": title, "unit": unit, "columns": _trimmed(columns), "highest": highest})
    return charts


def _trimmed(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the empty bins at both ends."""
    full = [place for place, column in enumerate(columns) if any(bar["count"] for bar in column["bars"])]
    return columns[full[0] : full[-1] + 1] if full else columns


def _count_label(edges: Sequence[float], place: int) -> str:
    if place + 1 == len(edges):
        return f"{edges[place]}+"
    low, high = edges[place], edges[place + 1] - 1
    return f"{low}" if low == high else f"{low}–{high}"


def _percent_label(edges: Sequence[float], place: int) -> str:
    return f"≥ {100 * edges[place]:.0f} %" if place else f"< {100 * edges[1]:.0f} %"


def _ratio_label(edges: Sequence[float], place: int) -> str:
    return f"≥ {_ratio(edges[place])}" if place else f"< {_ratio(edges[1])}"


def _ratio(value: float) -> str:
    if value >= 1:
        return f"{value:g}:1" if value == int(value) else "3:2"
    return "2:3" if value == 2 / 3 else f"1:{round(1 / value)}"


def _coco_sizes(described: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, split in described["splits"].items():
        total = max(1, split["instances"])
        parts = [(size, split["coco_sizes"][size]) for size in ("small", "medium", "large")]
        rows.append({"name": name, "parts": [(size, n, 100 * n / total) for size, n in parts]})
    return rows


def _picture_sizes(described: Mapping[str, Any]) -> Table:
    sizes: dict[tuple[int, int], dict[str, int]] = defaultdict(dict)
    for name, split in described["splits"].items():
        for width, height, count in split["sizes"]:
            sizes[width, height][name] = count
    order = sorted(sizes, key=lambda size: -sum(sizes[size].values()))
    rows = [
        [f"{w} × {h}", *(f"{sizes[w, h].get(name, 0):,}" for name in described["splits"])]
        for w, h in order[:10]
    ]
    extremes = [s[side] for s in described["splits"].values() for side in ("widths", "heights") if s[side]]
    note = ""
    if extremes:
        note = f"Sides are {min(e[0] for e in extremes):.0f} to {max(e[2] for e in extremes):.0f} pixels long"
        note += f"; the 10 most frequent of {len(order)} or more sizes are shown." if len(order) > 10 else "."
    return Table([("pixels", ""), *((name, "n") for name in described["splits"])], rows, note=note)


def _shots(dataset: PreparedDataset, colours: Mapping[int, Colour]) -> tuple[list[dict[str, Any]], set[int]]:
    """Some pictures, drawn by the seed of the split, with their masks; and the classes that are seen."""
    pool = []
    for split in dataset.splits:
        coco = dataset.coco(split)  # type: ignore[arg-type]
        chosen = random.Random(dataset.seed or 0).sample(  # noqa: S311  no secret is drawn
            coco["images"], min(SHOTS, len(coco["images"]))
        )
        wanted = {image["id"] for image in chosen}
        objects = defaultdict(list)
        for found in coco["annotations"]:
            if found["image_id"] in wanted:
                objects[found["image_id"]].append(found)
        pool.append([(split, image, objects[image["id"]]) for image in chosen])
    shots, seen = [], set()
    names = dict(enumerate(dataset.classes, 1))
    for split, image, objects in _dealt(pool):
        seen |= {found["category_id"] for found in objects if not found["iscrowd"]}
        shots.append(
            {
                "name": PurePath(image["file_name"]).name,
                "split": split,
                "size": f"{image['width']} × {image['height']}",
                "objects": sum(not found["iscrowd"] for found in objects),
                "crowds": sum(found["iscrowd"] for found in objects),
                **_drawn(image["file_name"], objects, colours, names if len(names) > 7 else {}),
            }
        )
    return shots, seen


def _dealt(pool: Sequence[Sequence[Any]]) -> list[Any]:
    """From each part in proportion to what it has, one at least, SHOTS in all; training first."""
    total = sum(len(part) for part in pool)
    if total <= SHOTS:
        return [shot for part in pool for shot in part]
    later = [min(len(part), max(1, SHOTS // 4)) for part in pool[1:]]
    numbers = [SHOTS - sum(later), *later]
    return [shot for part, number in zip(pool, numbers, strict=True) for shot in part[:number]]


def _drawn(
    path: str, objects: Sequence[Mapping[str, Any]], colours: Mapping[int, Colour], names: Mapping[int, str]
) -> dict[str, str]:
    try:
        picture = open_upright(path)
    except (DataError, OSError) as error:
        return {"problem": f"The picture can't be opened: {error}", "picture": ""}
    return {"problem": "", "picture": jpeg_uri(overlay_masks(picture, objects, colours, names, LEAST))}
