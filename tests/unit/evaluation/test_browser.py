"""The report as a browser shows it: nothing is fetched, nothing complained of, every picture is there."""

import re
import shutil
import subprocess

import pytest

from maskline.page import Table, data_uri, render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
]
PROBE = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const seen = images.filter(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width > 40);
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = [images.length, seen.length, document.documentElement.scrollWidth, innerWidth,
    performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length].join(" ");
  document.body.append(out);
});
</script>
"""
TEMPLATE = """{% extends "page.html.j2" %}
{% from "page_parts.html.j2" import cards, chart, section, table with context %}
{% block body %}{% call section("one") %}{{ cards([("0.5", "a score")] * 5, first=true) }}{{ table(rows) }}
{{ chart(picture, "a chart") }}{% endcall %}{% endblock %}
"""
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200"/></svg>'
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")


@pytest.mark.parametrize("width", [1280, 500])  # headless Chromium has no narrower window
def test_a_page_in_a_browser(tmp_path, width):
    template = tmp_path / "page.j2"
    template.write_text(TEMPLATE)
    picture = dict.fromkeys(("light", "dark"), data_uri(SVG, "image/svg+xml"))
    wide = Table([(f"column {i}", "n") for i in range(30)], [[str(i) for i in range(30)]])
    html = render_page(
        template, title="t" * 200, subtitle="s", sections={"one": "One"}, rows=wide, picture=picture
    )
    # The probe needs a script, which the page's policy forbids: the policy is checked apart.
    assert "default-src 'none'" in html
    open_html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    (tmp_path / "page.html").write_text(open_html.replace("</body>", PROBE + "</body>"))
    done = subprocess.run(
        [
            *(CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"),
            *("--dump-dom", (tmp_path / "page.html").as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = re.search(r'<pre id="probe">([^<]*)</pre>', done.stdout)
    assert told, done.stderr
    images, seen, content, window, fetched = map(int, told[1].split())
    assert images == seen == 1
    assert fetched == 0
    assert content <= window  # nothing makes the page scroll sideways
    assert "CONSOLE" not in done.stderr
