"""Where the study is kept."""

import json
from pathlib import Path

import pytest

from maskline import study
from maskline.errors import StageError
from maskline.study_storage import STUDY_URL, open_storage, persistently


def test_the_remains_of_a_torn_line_are_cut_off(tmp_path: Path) -> None:
    """A full disk or a kill in mid-write leaves half a line; what follows must stay readable."""
    first = study.open_study(tmp_path / "run")
    trial = first.ask()
    journal = tmp_path / "run" / study.JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 8, "worker')
    again = study.open_study(tmp_path / "run")
    assert len(again.trials) == 1
    again.tell(trial.number, 0.5)
    assert journal.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    assert [t.value for t in study.open_study(tmp_path / "run").trials] == [0.5]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/base", "begins with mysql://; give postgresql://user:password@host/database"),
        ("postgresql://nobody:secret@127.0.0.1:1/base", "in MASKLINE_STUDY_URL can't be reached"),
    ],
)
def test_databases_that_cant_be(
    url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STUDY_URL, url)
    with pytest.raises(StageError, match=words) as error:
        open_storage(tmp_path, patience=0)
    assert "secret" not in str(error.value)


def test_a_directory_that_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match="can't be written"):
        open_storage(tmp_path / "file" / "run")


def test_what_is_away_is_tried_again() -> None:
    tries: list[int] = []

    def action() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no space left")
        return "done"

    assert persistently(action, patience=10, pause=0) == "done"
    tries.clear()
    with pytest.raises(OSError, match="no space left"):
        persistently(action, patience=0, pause=0)
    assert len(tries) == 1


def test_limits_and_names_may_change_when_a_run_is_resumed() -> None:
    job = {"limits": {"max_trials": 3}, "training_parameters": {"min_size": 600}, "display_name": "one"}
    known = study.fingerprint(job, "digest")
    assert study.fingerprint({**job, "limits": {"max_trials": 9}, "display_name": "two"}, "digest") == known
    assert study.fingerprint({**job, "training_parameters": {"min_size": 601}}, "digest") != known
    assert study.fingerprint(job, "other data") != known
