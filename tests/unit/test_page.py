"""The skeleton of pages: all text escaped, no way out, navigation and sections that agree."""

import re

import pytest
from jinja2 import UndefinedError

from maskline.page import Table, data_uri, number, render_page

HOSTILE = "<script>alert('x')</script>"
TEMPLATE = """{% extends "page.html.j2" %}
{% from "page_parts.html.j2" import cards, chart, legend, notices, section, table with context %}
{% block body %}
{% call section("one") %}{{ cards([("0.5", name)], first=true) }}{{ table(rows) }}{% endcall %}
{% call section("two") %}{{ notices([name]) }}{{ legend([(name, "#123456")]) }}
{{ chart(picture, name) }}{% endcall %}
{% endblock %}
"""


def page(folder, template=TEMPLATE, **context):
    file = folder / "some.html.j2"
    file.write_text(template, encoding="utf-8")
    given = {
        "name": HOSTILE,
        "rows": Table([("a", "name"), (HOSTILE, "n")], [["x", "1"], [HOSTILE, "2"]], best=1, note=HOSTILE),
        "picture": {"light": data_uri(b"l", "image/png"), "dark": data_uri(b"d", "image/png")},
    }
    titles = {"title": HOSTILE, "subtitle": HOSTILE, "sections": {"one": "One", "two": HOSTILE}}
    return render_page(file, **titles, **(given | context))


def test_every_text_is_escaped(tmp_path):
    html = page(tmp_path)
    assert "<script" not in html
    escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"
    # Title (twice), subtitle, navigation, card; the table's heading, cell and note; heading, notice, legend,
    # chart.
    assert html.count(escaped) == 12


def test_a_section_has_its_place_in_the_navigation(tmp_path):
    html = page(tmp_path)
    assert re.findall(r'href="#(\w+)"', html) == re.findall(r'<section id="(\w+)">', html) == ["one", "two"]


def test_nothing_may_be_fetched(tmp_path):
    html = page(tmp_path)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html
    assert not re.search(r"@import|url\(|<link|https?:", html)


def test_tables_say_how_their_columns_are_set(tmp_path):
    html = page(tmp_path)
    assert '<tr><td class="name">x</td><td class="n">1</td></tr>' in html
    assert re.search(r'<tr class="best"><td class="name">&lt;script.*?</td><td class="n">2</td></tr>', html)


def test_dark_charts_are_for_dark_screens_only(tmp_path):
    source = '<source media="screen and (prefers-color-scheme: dark)" srcset="data:image/png;base64,ZA==">'
    assert source in page(tmp_path)


def test_what_is_missing_is_an_error(tmp_path):
    with pytest.raises(UndefinedError):
        page(tmp_path, TEMPLATE.replace("{{ name }}", "{{ nobody }}").replace("[name]", "[nobody]"))


def test_an_unknown_section_is_an_error(tmp_path):
    with pytest.raises(UndefinedError):
        page(tmp_path, TEMPLATE.replace('section("one")', 'section("three")'))


def test_a_dash_stands_for_what_is_undefined():
    values = (None, -1.0, float("nan"), 0.0, 0.12345)
    assert [number(value) for value in values] == ["–", "–", "–", "0.000", "0.123"]
