"""A training that is asked to stop: it keeps what it has, and goes."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 128 + signal.SIGTERM
"""Exit code of a training that was asked to stop, as a shell gives it for a process ended by the signal."""


class Stopped(SystemExit):
    """The training was asked to stop."""

    def __init__(self) -> None:
        super().__init__(CODE)


class Interruption:
    """Ends a training that is asked to stop: by SIGTERM, or because its parent is gone.

    What changes the state of a training is put inside `held`, and is always finished. All else, like an
    evaluation, is left at once, since it is done anew when the training continues.
    """

    def __init__(self) -> None:
        self._asked = False
        self._held = False
        self._parent = os.getppid()

    def watch(self) -> "Interruption":
        """Take SIGTERM from now on; for the main thread only."""
        signal.signal(signal.SIGTERM, self._take)
        return self

    def _take(self, number: int, frame: FrameType | None) -> None:
        again, self._asked = self._asked, True
        if not self._held and not again:  # the checkpoint that it keeps now is not to be broken off
            raise Stopped

    @property
    def asked(self) -> bool:
        """Whether the training was asked to stop."""
        return self._asked or os.getppid() != self._parent

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is inside is finished first.

        Raises:
            Stopped: the training was asked to stop; at the end of the block.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.asked:
            raise Stopped
