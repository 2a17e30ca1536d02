"""Charts say what the trials say."""

import io
import xml.etree.ElementTree as ET

import pytest
from matplotlib.figure import Figure
from PIL import Image

from maskline.artifacts import TrialRecord
from maskline.charts import BARS, render, score_bars, score_curves, sweep_picture

GOOD = TrialRecord(0, "complete", 0.4, 2, curve=((1, 0.2), (2, 0.4)))
BETTER = TrialRecord(1, "complete", 0.7, 1, curve=((1, 0.7),))
DEAD = TrialRecord(2, "failed", reason="$x^ <b> -->\x1b[31m bad")


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_bars_are_as_long_as_scores_and_failures_are_marked():
    figure = score_bars([GOOD, DEAD, BETTER], BETTER, "mask AP")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["trial 1", "trial 0", "trial 2"]
    assert [bar.get_width() for bar in axes.patches] == [0.7, 0.4, 0.0]
    assert words(figure)[:2] == ["0.700", "0.400"]
    assert words(figure)[2].startswith("failed: $x^ <b> --> [31m bad")


def test_many_trials_are_cut_and_counted():
    many = [TrialRecord(n, "complete", n / 100, 1) for n in range(BARS + 5)]
    axes = score_bars(many, many[-1], "mask AP").axes[0]
    assert len(axes.patches) == BARS
    assert axes.get_title() == f"Score by trial (the best {BARS}; 5 more)"


def test_curves_are_the_trials_own():
    lines = score_curves([GOOD, BETTER, DEAD], BETTER, "mask AP").axes[0].get_lines()
    drawn = {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in lines}
    assert drawn == {"trial 0": [(1, 0.2), (2, 0.4)], "trial 1": [(1, 0.7)]}


@pytest.mark.parametrize("trials", [[], [DEAD], [GOOD, BETTER, DEAD]])
def test_files_can_be_read(trials):
    best = BETTER if BETTER in trials else None
    assert Image.open(io.BytesIO(render(sweep_picture(trials, best, "mask AP"), "png"))).width == 1800
    for draw in (score_bars, score_curves):
        assert ET.fromstring(render(draw(trials, best, "mask AP"), "svg")).tag.endswith("svg")
