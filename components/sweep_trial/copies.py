"""A trial's files at a URI, where its directory doesn't outlive the pod: who keeps what there.

The training process keeps checkpoints, metrics and curves there, each time it saves one (see resume.Shelf).
Its supervisor keeps the log and the spec, now and then and at the end, and `owner.txt`, by which a supervisor
that was taken for lost, and isn't, finds that the trial is another's now, and leaves what is there alone.
"""

import contextlib
import threading
from pathlib import Path

from maskline import storage
from maskline.artifacts import TrialDirectory
from maskline.errors import MissingError, StorageError
from maskline.faults import patiently


def is_owned(files: TrialDirectory, copies: str) -> bool:
    """Whether a trial is, at its URI, of the same supervisor as in its directory.

    Raises:
        StorageError: the store can't be reached, so that nobody knows.
    """
    try:
        return storage.read_bytes(storage.join(copies, files.owner.name)) == files.owner.read_bytes()
    except (MissingError, FileNotFoundError):
        return True


class Copies(threading.Thread):
    """What a supervisor keeps at a URI; without one it does nothing.

    Args:
        files: of the trial.
        place: URI of its folder; empty for none.
        every: seconds from one copy to the next.

    Attributes:
        lost: set when the trial is another supervisor's.
    """

    def __init__(self, files: TrialDirectory, place: str, every: float) -> None:
        super().__init__(daemon=True)
        self.lost = threading.Event()
        self._files, self._place, self._every = files, place, every
        self._ended = threading.Event()
        self._kept: dict[Path, tuple[int, int]] = {}

    def begin(self, patience: float) -> None:
        """Take the trial over, with its log so far; waits for a store that is away.

        Raises:
            StorageError: it refuses, or is still away when patience is over.
        """
        if self._place:
            patiently(self._take_over, patience)
            self.start()

    def end(self, patience: float) -> None:
        """Keep what is left; if the store is away that long, only the last lines of the log are lost."""
        self._ended.set()
        if self._place:
            self.join(patience)

    def run(self) -> None:
        """Keep what is new until the trial ends."""
        while not self._ended.wait(self._every) and not self.lost.is_set():
            self._keep(self._files.log, self._files.spec)
        if not self.lost.is_set():
            self._keep(self._files.log, self._files.spec, self._files.metrics, self._files.failure)

    def _take_over(self) -> None:
        with contextlib.suppress(MissingError):  # the trial begins
            storage.fetch(self._at(self._files.log), self._files.log)
        storage.put(self._files.owner, self._at(self._files.owner))

    def _keep(self, *paths: Path) -> None:
        try:
            if not is_owned(self._files, self._place):
                self.lost.set()
                return
            for path in paths:
                if path.exists() and (stamp := _stamp(path)) != self._kept.get(path):
                    storage.put(path, self._at(path))
                    self._kept[path] = stamp
        except StorageError as error:
            print(f"{error}; the trial goes on, and its log is copied there later", flush=True)

    def _at(self, path: Path) -> str:
        return storage.join(self._place, path.name)


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
