"""What `maskline inspect` prints: splits, classes and findings, short enough for a screen."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from maskline.components.data_preparation.inspect import Inspection

CLASSES = 12
"""Classes that are listed: the most frequent."""
_WIDTH = 20


def summary(found: Inspection) -> RenderableType:
    """Tables of splits, classes and findings, then what is worth looking into."""
    parts: list[RenderableType] = [_splits(found), _classes(found)]
    parts.append(_findings(found) if found.described["findings"] else Text("no findings", style="green"))
    parts += [Text.assemble(("look into: ", "yellow"), _plain(sentence)) for sentence in found.advice]
    sound = not found.problems
    parts.append(
        Text("ready to train on", "bold green") if sound else Text("not fit to train on", "bold red")
    )
    return Group(*parts)


def _plain(text: str) -> Text:
    """Text from outside: no markup, and nothing that a terminal would obey."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _splits(found: Inspection) -> Table:
    table = _table("split", "pictures", "objects", "crowd", "without objects", "small", "medium", "large")
    for name, split in found.described["splits"].items():
        sizes = split["coco_sizes"]
        keys = ("pictures", "instances", "crowds", "background")
        counts = [*(split[key] for key in keys), sizes["small"], sizes["medium"], sizes["large"]]
        table.add_row(name, *(f"{count:,}" for count in counts))
    return table


def _classes(found: Inspection) -> RenderableType:
    splits = found.described["splits"]
    rows = [
        (name, [split["by_class"][name]["instances"] for split in splits.values()])
        for name in found.described["classes"]
    ]
    rows.sort(key=lambda row: -sum(row[1]))
    table = _table("class", *splits)
    table.add_column("")
    most = max((sum(counts) for _, counts in rows), default=0)
    for name, counts in rows[:CLASSES]:
        bar = "█" * max(1, round(_WIDTH * sum(counts) / max(1, most)))
        table.add_row(_plain(name), *(f"{count:,}" for count in counts), Text(bar, style="blue"))
    table.columns[-1].justify = "left"
    rest = len(rows) - CLASSES
    return Group(table, Text(f"and {rest} classes more\n", style="dim")) if rest > 0 else table


def _findings(found: Inspection) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("finding")
    table.add_column("times", justify="right")
    table.add_column("lost", justify="right")
    table.add_column("the first", overflow="fold")
    for kind, of_kind in found.described["findings"].items():
        first = of_kind["first"][0]
        style = "red" if of_kind["lost"] else ""
        text = _plain(f"{first['where'].rsplit('/', 1)[-1]}: {first['what']}")
        table.add_row(Text(kind, style=style), f"{of_kind['count']:,}", f"{of_kind['lost']:,}", text)
    return table
