"""Where a study is kept: a journal in the run directory, or PostgreSQL; and what to do when it is away.

The environment variable STUDY_URL names a PostgreSQL database, as in
`postgresql://user:password@host/database`; in a cluster it comes from a secret. Without it the study is a
journal on the run directory's file system, which all trials share.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from .errors import StageError

STUDY_URL = "MASKLINE_STUDY_URL"
JOURNAL = "study.journal"
AWAY = (StorageInternalError, SQLAlchemyError, OSError)
"""What a storage raises that can't be reached, or not written."""
PATIENCE_SECONDS = 1800.0
"""How long the end of a trial waits for a storage that is away."""
OPENING_SECONDS = 300.0
"""How long a stage waits for a storage when it begins."""
PAUSE_SECONDS = 2.0
T = TypeVar("T")


class KernelLock(BaseJournalFileLock):
    """A lock that the kernel releases when its holder ends, however it ends.

    Optuna's own lock outlives a process that is killed, and holds up all others for half a minute. This one
    needs a file system with `flock`: local disks, NFS 4, CephFS.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._held: IO[str] | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115  open until it is released
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held = file
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._held is not None:
            self._held.close()
            self._held = None


class WholeLineJournal(JournalFileBackend):
    """A journal that a full disk or a killed writer doesn't spoil.

    Optuna's takes a line that was written in part, once another follows it, for damage of the whole file.
    Here the remains of such a line are cut off before the next one is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._guard = KernelLock(f"{self._path}.lock")
        super().__init__(str(self._path), self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write whole lines, or nothing."""
        try:
            self._guard.acquire()
            try:
                if (size := _whole_lines(self._path)) != self._path.stat().st_size:
                    os.truncate(self._path, size)
            finally:
                self._guard.release()
            super().append_logs(logs)
        except OSError as error:
            raise OSError(f"{self._path} can't be written: {error}; free some space there") from error


def _whole_lines(path: Path) -> int:
    """Bytes of a file up to its last end of line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return 0
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return size
        file.seek(0)
        return file.read().rfind(b"\n") + 1


def open_storage(run: Path | None, patience: float = OPENING_SECONDS) -> BaseStorage:
    """The storage of a run's study.

    Args:
        run: the run directory, made if need be; None for one at a URI, which can't hold a journal.
        patience: seconds to wait for a database that is away.

    Raises:
        StageError: the storage can't be reached or written, or there is no database and no folder.
    """
    url = os.environ.get(STUDY_URL, "")
    if run is None and not url:
        raise StageError(
            f"run_root is a URI, where trials can't share a journal, and {STUDY_URL} is not set; name the "
            "secret of a PostgreSQL as `study` in the cluster file, or a folder on a volume as run_root"
        )
    try:
        if run is not None:
            run.mkdir(parents=True, exist_ok=True)
            if not url:
                return JournalStorage(WholeLineJournal(run / JOURNAL))
    except OSError as error:
        raise StageError(f"the run directory {run} can't be written: {error}; choose another") from error
    try:
        return persistently(lambda: _database(url), patience)
    except ImportError as error:
        raise StageError(
            f"{STUDY_URL} is set, and psycopg not installed; pip install 'maskline[postgres]'"
        ) from error
    except AWAY as error:
        raise StageError(
            f"the study's database in {STUDY_URL} can't be reached: {_first_line(error)}; "
            "see whether it runs, and whether this machine may connect to it"
        ) from error


def _database(url: str) -> RDBStorage:
    """PostgreSQL through psycopg 3; a connection that is cut is noticed within a minute."""
    scheme, _, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        url = f"postgresql+psycopg://{rest}"
    elif scheme != "postgresql+psycopg":
        raise StageError(
            f"{STUDY_URL} begins with {scheme}://; give postgresql://user:password@host/database"
        )
    away = {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 4}
    return RDBStorage(url, engine_kwargs={"pool_pre_ping": True, "pool_size": 2, "connect_args": away})


@contextmanager
def one_at_a_time(study: Study, run: Path) -> Iterator[None]:
    """Let one slot of a study in, on whatever machine the others are; a slot that dies lets the next one in.

    Args:
        study: the study.
        run: its run directory, whose file system all slots share where the study is a journal.
    """
    engine = getattr(getattr(study._storage, "_backend", None), "engine", None)
    if engine is not None:
        with engine.begin() as transaction:  # the database ends it with the connection
            lock = text("SELECT pg_advisory_xact_lock(hashtext(:name))")
            transaction.execute(lock, {"name": f"maskline {study.study_name}"})
            yield
        return
    with (run / "study.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def persistently(action: Callable[[], T], patience: float, pause: float = PAUSE_SECONDS) -> T:
    """Do something with a storage, again and again while it is away.

    Several processes that make a database's tables at once get in one another's way too; the second try
    finds them made.

    Raises:
        StorageInternalError, SQLAlchemyError, OSError: it is still away when patience is over.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return action()
        except AWAY as error:
            if time.monotonic() >= end:
                raise
            print(f"the study can't be reached, trying again: {_first_line(error)}", flush=True)  # noqa: T201
            time.sleep(pause)


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    return str(cause).splitlines()[0] if str(cause) else type(cause).__name__
