"""What is shown of a run, in a terminal and in a log."""

import io

from rich.console import Console

from maskline.artifacts import TrialRecord
from maskline.pipelines.local_runner import Progress
from maskline.pipelines.progress import Display

FIRST = TrialRecord(0, "running", parameters={"learning_rate": 0.00123456}, epochs=4)
LATER = TrialRecord(
    0, "complete", 0.5, 2, {"learning_rate": 0.00123456}, epochs_done=4, epochs=4, curve=((2, 0.5), (4, 0.4))
)
LOST = TrialRecord(1, "failed", parameters={"learning_rate": 0.002}, epochs=4, reason="killed by SIGKILL")


def shown(*steps: Progress, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=160, color_system=None)
    with Display(console, 3) as display:
        for step in steps:
            display(step)
    return stream.getvalue()


def progress(*trials: TrialRecord, **stages: str) -> Progress:
    found = Progress(trials=list(trials), seconds=75)
    found.stages.update(stages)
    return found


def test_a_log_says_each_thing_once() -> None:
    steps = [
        progress(data_preparation="running"),
        progress(FIRST, data_preparation="done", sweep_trial="running"),
        progress(LATER, LOST, data_preparation="done", sweep_trial="running"),
        progress(LATER, LOST, data_preparation="done", sweep_trial="done"),
    ]
    assert shown(*steps, terminal=False).splitlines() == [
        "data_preparation: running",
        "data_preparation: done",
        "sweep_trial: running",
        "  trial 0: started learning_rate=0.001235",
        "  trial 0: epoch 2 of 4, score 0.5000",
        "  trial 0: epoch 4 of 4, score 0.4000",
        "  trial 0: complete, best score 0.5000 in epoch 2",
        "  trial 1: started learning_rate=0.002",
        "  trial 1: failed, killed by SIGKILL",
        "sweep_trial: done",
    ]


def test_a_terminal_shows_a_table() -> None:
    page = shown(progress(LATER, LOST, data_preparation="done", sweep_trial="running"), terminal=True)
    assert "✔ data_preparation" in page
    assert "▶ sweep_trial" in page
    assert "1:15" in page
    assert "2 of 3 trials ended" in page
    row = next(line for line in page.splitlines() if "complete" in line)
    assert row.split() == ["0", "complete", "4/4", "0.4000", "0.5000", "learning_rate=0.001235"]
    assert "killed by SIGKILL" in page
