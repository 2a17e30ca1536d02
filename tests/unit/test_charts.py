"""Charts say what the trials say."""

import io
import xml.etree.ElementTree as ET

import pytest
from matplotlib.figure import Figure
from PIL import Image

from maskline.artifacts import TrialRecord
from maskline.charts import (
    BARS,
    early_termination,
    importance,
    parallel_coordinates,
    parameter_importance,
    render,
    score_bars,
    score_curves,
    sweep_history,
    sweep_picture,
)

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


def swept(number: int, score: float, **parameters: object) -> TrialRecord:
    curve = tuple((epoch, score * epoch / 4) for epoch in range(1, 5))
    return TrialRecord(number, "complete", score, 4, parameters, 4, 4, curve=curve)


ENDED = TrialRecord(2, "terminated", 0.1, 2, {"momentum": 0.3}, 2, 4, curve=((1, 0.1), (2, 0.1)))


def test_history_shows_the_best_so_far():
    trials = [swept(0, 0.4), swept(1, 0.3), ENDED, DEAD, swept(4, 0.6)]
    lines = sweep_history(trials, trials[-1], "mask AP").axes[0].get_lines()
    steps = lines[-1].get_data()
    assert [list(axis) for axis in steps] == [[0, 1, 2, 4], [0.4, 0.4, 0.4, 0.6]]
    crosses = [line for line in lines if line.get_marker() == "x"]
    assert list(crosses[0].get_xdata()) == [2]


def test_parallel_coordinates_go_through_values_and_score():
    trials = [
        swept(0, 0.2, learning_rate=0.001, optimizer="sgd", same=1),
        swept(1, 0.4, learning_rate=0.01, optimizer="adamw", same=1),
        swept(2, 0.3, learning_rate=0.1, optimizer="sgd", same=1),
    ]
    axes = parallel_coordinates(trials, trials[1], "mask AP").axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "learning\nrate",
        "optimizer",
        "mask AP",
    ]
    drawn = sorted([round(float(y), 6) for y in line.get_ydata()] for line in axes.get_lines())
    # rates over two orders of magnitude stand at 0, 1/2, 1; words in order; scores between the ends
    assert drawn == [[0.0, 1.0, 0.0], [0.5, 0.0, 1.0], [1.0, 1.0, 0.5]]


def test_importance_of_a_parameter_worked_by_hand():
    """Two groups of four: scores 1 2 1 2 and 3 4 3 4 (tenths). Between 8, inside 2, so 1/3 of it a degree."""
    scores = [0.1, 0.2, 0.1, 0.2, 0.3, 0.4, 0.3, 0.4]
    trials = [swept(n, s, optimizer="sgd" if n < 4 else "adamw", noise=n % 2) for n, s in enumerate(scores)]
    found = importance(trials)
    # epsilon squared: (8 - 2 / 6) / 10, in units of 0.01; of noise: (2 - 8 / 6) / 10
    assert found == {"optimizer": pytest.approx(0.76667, abs=1e-4), "noise": pytest.approx(0.06667, abs=1e-4)}
    assert importance(trials[:7]) == {}
    axes = parameter_importance(trials).axes[0]
    assert [bar.get_width() for bar in axes.patches] == sorted(found.values())


def test_numbers_are_grouped_by_quartiles():
    trials = [swept(n, 0.1 * (n // 4), learning_rate=0.001 * (n + 1)) for n in range(16)]
    assert importance(trials)["learning_rate"] == pytest.approx(1)


def test_early_termination_counts_epochs():
    axes = early_termination([swept(0, 0.4), ENDED, DEAD], None, "mask AP").axes[0]
    assert axes.get_title() == "1 of 3 ended early: 6 of 8 epochs (75%)"
    crosses = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert [(int(c.get_xdata()[0]), c.get_ydata()[0]) for c in crosses] == [(2, 0.1)]


@pytest.mark.parametrize("trials", [[], [DEAD], [ENDED], [swept(n, 0.1 * n, m=n) for n in range(9)]])
def test_pictures_of_a_sweep_can_be_read(trials):
    best = trials[-1] if trials else None
    for figure in (
        sweep_history(trials, best, "AP"),
        parallel_coordinates(trials, best, "AP"),
        parameter_importance(trials),
        early_termination(trials, best, "AP"),
    ):
        ET.fromstring(render(figure, "svg"))


def test_letters_that_the_font_lacks_are_left_to_the_browser():
    chinese = TrialRecord(0, "complete", 0.4, 2, {"optimizer": "中文"}, curve=((1, 0.2),))
    drawn = render(parallel_coordinates([chinese, BETTER], BETTER, "mask AP"), "svg").decode()
    assert "中文</text>" in drawn
    assert "</text>" not in render(score_bars([GOOD, BETTER], BETTER, "mask AP"), "svg").decode()
