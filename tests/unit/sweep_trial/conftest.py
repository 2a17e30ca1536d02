"""Slots as processes of their own, with trainings that keep the contract and learn nothing; PostgreSQL."""

import json
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
import pytest

from maskline import Input, automl, study
from maskline.artifacts import TrialRecord
from maskline.automl import SearchSpace
from maskline.components.sweep_trial import child, supervise
from maskline.components.sweep_trial.claim import Times
from maskline.job import ImageInstanceSegmentationJob
from maskline.study_storage import STUDY_URL
from maskline.sweep import Uniform

FAKE = Path(__file__).with_name("fake_training.py")
QUICK = Times(beat=0.3, lost=2.0, fence=0.5, look=0.03)
FORK = multiprocessing.get_context("fork")


class Slots:
    """A run whose slots are processes; with the fixtures' fake training a trial takes a tenth of a second.

    Attributes:
        job: may be changed before the first slot.
        run: the run directory.
    """

    def __init__(self, job: ImageInstanceSegmentationJob, data: Path, run: Path) -> None:
        self.job, self.data, self.run = job, data, run
        self._started: list[BaseProcess] = []

    def start(self, before: Callable[[], None] = lambda: None) -> BaseProcess:
        """Begin a slot; `before` runs in its process first."""
        process = FORK.Process(target=self._slot, args=(before,))
        process.start()
        self._started.append(process)
        return process

    def _slot(self, before: Callable[[], None]) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        before()
        record = supervise.run_slot(self.job, self.data, self.run)
        outcome = None if record is None else record.to_json()
        (self.run / f"outcome-{os.getpid()}.json").write_text(json.dumps(outcome))

    def outcome(self, process: BaseProcess) -> TrialRecord | None:
        """What a slot returned, when it has ended; it must have ended well."""
        process.join(60)
        assert process.exitcode == 0
        found = json.loads((self.run / f"outcome-{process.pid}.json").read_text())
        return None if found is None else TrialRecord.from_json(found)

    def once(self) -> TrialRecord | None:
        """Run a slot to its end."""
        return self.outcome(self.start())

    def study(self) -> optuna.Study:
        """The study, opened anew."""
        return study.open_study(self.run)

    def trials(self) -> list[TrialRecord]:
        """What the study knows."""
        opened = self.study()
        found = study.read_trials(opened)
        if (engine := getattr(getattr(opened._storage, "_backend", None), "engine", None)) is not None:
            engine.dispose()  # a process that is forked from this one would close its connections too
        return found

    def wait(self, what: Callable[[], object], seconds: float = 30) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.02)

    def epochs(self, trial: int = 0) -> int:
        """How many epochs a trial's training has written down."""
        metrics = self.run / "trials" / str(trial) / "metrics.jsonl"
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def training(self, trial: int | str = 0) -> int:
        """Process number of a trial's training; 0 if none runs. `*` is any trial."""
        spec = str(self.run / "trials" / str(trial) / "spec.json")
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if any(fnmatch(word, spec) for word in words):
                return int(folder.name)
        return 0

    def doubles(self) -> list[Path]:
        """Where two trainings ran at once."""
        return list(self.run.glob("trials/*/double"))

    def end(self) -> None:
        """Leave no process."""
        for process in self._started:
            if process.is_alive():
                process.kill()
            process.join()
        while training := self.training("*"):
            with suppress(ProcessLookupError):
                os.kill(training, signal.SIGKILL)
            self.wait(lambda number=training: self.training("*") != number)


@pytest.fixture
def slots(tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slots]:
    """A run of up to two trials of four epochs."""
    job = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="."), target_column_name="label"
    )
    job.set_limits(max_trials=2)
    job.set_training_parameters(model_name="maskrcnn_resnet18_fpn_light", number_of_epochs=4, random_seed=4)
    job.extend_search_space(SearchSpace(learning_rate=Uniform(0.2, 0.8)))
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-S", str(FAKE)))
    monkeypatch.setattr(supervise, "TIMES", QUICK)
    made = Slots(job, tiny_prepared, tmp_path / "run")
    yield made
    made.end()


class Server:
    """A PostgreSQL server of this test run's own."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        # PostgreSQL refuses to run as root; Debian's package makes a user for it.
        self._user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._call("initdb", "-A", "trust", "-U", "maskline", "--no-sync", "-E", "UTF8")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -k {self._folder} -F -c listen_addresses=127.0.0.1"
        self._call("pg_ctl", "start", "-w", "-l", str(self._folder / "log"), "-o", options)

    def stop(self) -> None:
        """Cut all connections and stop it."""
        self._call("pg_ctl", "stop", "-w", "-m", "immediate")

    def database(self, name: str) -> str:
        """The URL of a new database."""
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "maskline", name, data=False)
        return f"postgresql://maskline@127.0.0.1:{self.port}/{name}"

    def _call(self, program: str, *words: str, data: bool = True) -> None:
        where = ["-D", str(self._folder / "data")] if data else []
        command = [str(self._programs / program), *where, *words]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, timeout=120, cwd=self._folder, **self._user
        )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; `apt-get install postgresql` brings one."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'maskline[postgres]'")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="maskline-postgres-", dir="/tmp"))
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
    server = Server(found[-1].parent, folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
def database(postgres: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The study of this test in a database of its own."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name.lower())
    monkeypatch.setenv(STUDY_URL, postgres.database(name))
    return postgres
