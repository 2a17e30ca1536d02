"""What a server takes, and how it says no."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ServingLimits:
    """What keeps a server's memory and time bounded.

    Attributes:
        body_bytes: of the largest request.
        pixels: of the largest picture, looked at before it is decoded.
        pictures: of one request.
        queue: requests that are being answered or wait for it; more are sent away with 503.
        body_seconds: that a client may take to send its request.
        workers: requests that are worked on at a time; 0 takes a processor each.
    """

    body_bytes: int = 16 << 20
    pixels: int = 50_000_000
    pictures: int = 32
    queue: int = 128
    body_seconds: float = 30.0
    workers: int = 0


class Refused(Exception):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        reason: what was wrong, for the caller.
        headers: of the answer.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})


@dataclass
class Queue:
    """Counts the requests that are in the house."""

    places: int
    taken: int = field(default=0)

    def __enter__(self) -> None:
        if self.taken >= self.places:
            reason = f"{self.places} requests are waiting already; try again"
            raise Refused(503, reason, {"Retry-After": "1"})
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1
