"""What goes wrong at a store: what passes and is tried again, and what is an error, in words."""

import errno
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from .addresses import Store, without_secrets
from .errors import AwayError, MissingError, StorageError

ATTEMPTS = 6
"""Times that something is tried in all."""
PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long, up to LONGEST_PAUSE."""
LONGEST_PAUSE = 20.0
AWAY_PAUSE = 5.0
"""Seconds between two tries at a store that is away; each is of ATTEMPTS attempts."""
T = TypeVar("T")
_STATUS_MISSING, _STATUS_FORBIDDEN, _STATUS_PASSING = (404, 410), (401, 403), (408, 425, 429)
_PASSING = frozenset(
    getattr(errno, name)
    for name in ("EBUSY", "EREMOTEIO", "EAGAIN", "EHOSTUNREACH", "ENETUNREACH", "ENETRESET", "ENETDOWN")
    if hasattr(errno, name)
)
_PASSING_NAMES = frozenset(
    (
        # aiohttp, botocore, requests, Azure's and Google's clients; none of them need be installed
        "ClientConnectionError",
        "ClientPayloadError",
        "HTTPClientError",
        "EndpointConnectionError",
        "ConnectTimeoutError",
        "IncompleteReadError",
        "ResponseStreamingError",
        "IncompleteRead",
        "ChunkedEncodingError",
        "ServiceRequestError",
        "ServiceResponseError",
        "TransportError",
        "ConnectionError",
        "TimeoutError",
        "Timeout",
        "FlexibleChecksumError",  # of what came, not of what is stored
    )
)
_LASTING_NAMES = frozenset(("SSLCertVerificationError", "ClientConnectorCertificateError", "ProxyError"))
_NO_CREDENTIALS = frozenset(
    (
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "SSOTokenLoadError",
        "ProfileNotFound",
        "DefaultCredentialsError",
        "ClientAuthenticationError",
    )
)


def retried(work: Callable[[], T], place: str, verb: str, store: Store | None) -> T:
    """Do something at a store, again after what passes.

    Args:
        work: what to do; must be safe to be done twice.
        place: URI that it is done to.
        verb: `read`, `written` or `removed`.
        store: what is known of the store.

    Raises:
        MissingError: nothing is there.
        AwayError: the network or the store failed ATTEMPTS times.
        StorageError: it is forbidden, or the driver is missing.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except StorageError:
            raise
        except Exception as error:  # every driver has errors of its own
            if attempt == ATTEMPTS or not passes(error):
                raise _translated(error, place, verb, store, attempt) from error
            pause = min(PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  spreads the pods, hides nothing
    raise AssertionError("the last attempt returns or raises")


def patiently(action: Callable[[], T], patience: float) -> T:
    """Do something with a store, again and again while it is away; one that refuses is an error at once.

    Args:
        action: what to do; must be safe to be done twice.
        patience: seconds to go on trying.

    Raises:
        AwayError: the store is still away when patience is over.
        StorageError: it refuses.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return action()
        except AwayError as error:
            if time.monotonic() >= end:
                raise
            print(f"{error}; trying again", flush=True)  # noqa: T201  stages print what they wait for
            time.sleep(min(AWAY_PAUSE, max(0.0, end - time.monotonic())))


def passes(error: BaseException) -> bool:
    """Whether an error is the network's or a server's passing fault."""
    status = _status(error)
    if status is not None:
        return status in _STATUS_PASSING or (status >= 500 and status != 501)
    chain = list(_chain(error))
    if any(_named(e, _LASTING_NAMES | _NO_CREDENTIALS) for e in chain):
        return False
    return any(
        isinstance(e, ConnectionError | TimeoutError)
        or (isinstance(e, OSError) and e.errno in _PASSING)
        or _named(e, _PASSING_NAMES)
        for e in chain
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it: drivers hide a server's answer behind errors of their own."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _named(error: BaseException, names: frozenset[str]) -> bool:
    return any(kind.__name__ in names for kind in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error stands for, as the drivers keep it."""
    for found in _chain(error):
        response = getattr(found, "response", None)
        if isinstance(response, dict):  # botocore
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(response, "status_code", None)
        for name in ("status", "status_code", "code"):
            status = status if isinstance(status, int) else getattr(found, name, None)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return None


def _translated(error: Exception, place: str, verb: str, store: Store | None, attempts: int) -> StorageError:
    shown, status = without_secrets(place), _status(error)
    variables = store.variables if store else "what its driver reads from the environment"
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImportError):
        extra = f"pip install 'maskline[{store.extra}]'" if store else reason
        package = store.package if store else "a driver"
        return StorageError(f"{shown} can't be {verb}: {package} is not installed; {extra}")
    if any(_named(e, _NO_CREDENTIALS) for e in _chain(error)):
        return StorageError(f"{shown} can't be {verb}: {reason}; set {variables}")
    if status in _STATUS_FORBIDDEN or (status is None and isinstance(error, PermissionError)):
        return StorageError(
            f"{shown} may not be {verb} with these credentials ({reason}); grant it, or set {variables}"
        )
    if passes(error):
        return AwayError(
            f"{shown} could not be {verb} in {attempts} attempts: {reason}; see whether the store is up "
            "and this machine reaches it"
        )
    if status in _STATUS_MISSING or (status is None and isinstance(error, FileNotFoundError)):
        return MissingError(f"{shown} is not there; correct it, or see whether its bucket or host has it")
    return StorageError(f"{shown} can't be {verb}: {type(error).__name__}: {reason}")
