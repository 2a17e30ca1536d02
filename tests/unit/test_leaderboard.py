"""How trials are ranked and tabulated."""

import csv
import math

from maskline.artifacts import TrialRecord
from maskline.leaderboard import ranked, rows, tied, write_csv

TRIALS = [
    TrialRecord(0, "complete", 0.4, 2, {"learning_rate": 0.1}, 3, 3, 61.26, curve=((1, 0.2), (2, 0.4))),
    TrialRecord(1, "failed", 0.9, 1, {"learning_rate": 0.2}, 1, 3, reason="out of memory, line\ntwo"),
    TrialRecord(2, "complete", 0.7, 3, {"optimizer": "adamw", "seconds": 5}, 3, 3),
    TrialRecord(3, "complete", 0.7, 1, {}, 3, 3),
    TrialRecord(4, "complete", math.nan, 1),
    TrialRecord(5, "running", 0.95, 1),
]


def test_the_best_score_wins_and_then_the_earlier_trial():
    assert [trial.number for trial in ranked(TRIALS[::-1])] == [2, 3, 0, 1, 4, 5]
    assert tied(TRIALS, TRIALS[2]) == [3]
    assert tied(TRIALS, TRIALS[0]) == []


def test_rows_have_every_varied_parameter():
    table = rows(TRIALS)
    assert [row["rank"] for row in table] == [1, 2, 3, None, None, None]
    assert table[0]["optimizer"] == "adamw"
    assert table[0]["parameter.seconds"] == 5
    assert table[0]["learning_rate"] is None
    assert table[2]["seconds"] == 61.3


def test_csv_reads_back(tmp_path):
    write_csv(TRIALS, tmp_path / "board.csv")
    with (tmp_path / "board.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == [
        *("rank", "trial", "state", "score", "best_epoch", "epochs_done", "epochs", "seconds"),
        *("learning_rate", "optimizer", "parameter.seconds", "reason"),
    ]
    assert [row["trial"] for row in table] == ["2", "3", "0", "1", "4", "5"]
    assert table[3]["reason"] == "out of memory, line\ntwo"
    assert table[3]["rank"] == ""


def test_csv_of_no_trials_has_a_header(tmp_path):
    write_csv([], tmp_path / "board.csv")
    assert (tmp_path / "board.csv").read_text().startswith("rank,trial,state,score")
