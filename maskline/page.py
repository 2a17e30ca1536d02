"""The one skeleton of the pages that Maskline writes: a single HTML file that needs nothing else.

No scripts, no network, no fonts from elsewhere, and a content security policy that would stop them; light
or dark as the reader's system is; from a phone's width to a desk's, and on paper. A page is a Jinja2
template of its own beside the code that fills it:

    {% extends "page.html.j2" %}
    {% from "page_parts.html.j2" import section, table, chart with context %}
    {% block body %}
    {% call section("summary") %} ... {% endcall %}
    {% endblock %}

`page_parts.html.j2` says what parts there are. All text is escaped, whatever the template is called.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

Kind = Literal["", "n", "name", "long"]
"""How a column is set: plain, a number (to the right), a name (may break anywhere), or long text."""


@dataclass(frozen=True)
class Table:
    """A table as the macro `table` sets it.

    Attributes:
        columns: heading and kind of each column.
        rows: texts, one a column; numbers are to be formatted already (see `number`).
        best: index of the row that stands out, or None.
        note: a line of small print below; empty for none.
    """

    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[str]]
    best: int | None = None
    note: str = ""


def render_page(
    template: Path, *, title: str, subtitle: str, sections: Mapping[str, str], **context: Any
) -> str:
    """A page as text.

    Args:
        template: a Jinja2 template that extends `page.html.j2`; what it includes may lie beside it.
        title: of the page; escaped, as all text is.
        subtitle: the line below the title.
        sections: heading by anchor, in order; the page's navigation, and what `section(anchor)` looks up.
        context: what the template's own blocks use. A name that is missing is an error.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(template.name).render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        made=f"Maskline {version('maskline')}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        **context,
    )


def number(value: float | None, digits: int = 3) -> str:
    """A score as text; a dash where it is undefined: None, not a number, or -1 as COCO writes it."""
    return "–" if value is None or value == -1 or math.isnan(value) else f"{value:.{digits}f}"


def data_uri(data: bytes, kind: str) -> str:
    """A file as a `data:` URI; kind is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
