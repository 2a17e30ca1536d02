"""Which GPU a trial gets where several trials share a machine: one of its own, as long as there are enough.

A lock on a file stands for a GPU; the kernel releases it when the supervisor ends, however it ends.
"""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from maskline import families

VISIBLE = "CUDA_VISIBLE_DEVICES"
_ASK_TORCH = """
from torch import cuda
print(min((cuda.get_device_properties(n).total_memory for n in range(cuda.device_count())), default=0))
"""


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none on a machine without."""
    if (given := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
        return [str(index) for index, _ in enumerate(listed.stdout.strip().splitlines())]
    return []


def gpu_memory() -> float:
    """Memory of the smallest GPU of this machine, in GiB; 0 where there is none, or none that says so."""
    ask = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30, check=True).stdout
        return round(min(float(line) for line in told.split("\n") if line.strip()) / 1024, 1)
    # A container needn't have nvidia-smi. In a process of its own, since torch keeps what it takes of a GPU.
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        ask = [sys.executable, "-c", _ASK_TORCH]
        told = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=True).stdout
        return round(float(told) / 2**30, 1)
    return 0.0


@contextmanager
def own_device(trial: int, devices: list[str] | None = None) -> Iterator[Mapping[str, str]]:
    """Environment variables that give a trial a GPU which no other trial on this machine has.

    Where there are more trials than GPUs, the trials that find none free are spread by their numbers. On a
    machine with one GPU or none there is nothing to choose, and nothing is set.

    Args:
        trial: the trial's number.
        devices: names of the GPUs; `visible_devices`, if left out. None of them for a trial that uses all.
    """
    devices = visible_devices() if devices is None else devices
    if len(devices) < 2:
        yield {}
        return
    for device in devices:
        with _lock_file(device).open("w", encoding="utf-8") as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield {VISIBLE: device}
            return
    yield {VISIBLE: devices[trial % len(devices)]}


def _lock_file(device: str) -> Path:
    safe = "".join(letter if letter.isalnum() else "_" for letter in device)
    return Path(tempfile.gettempdir()) / f"maskline-gpu-{os.getuid()}-{safe}.lock"


def rfdetr_sizes() -> tuple[str, ...]:
    """Sizes of rfdetr_seg whose published weights are in torch's cache; none where its packages are not."""
    if families.lacking(families.RFDETR):
        return ()
    return tuple(size for size in families.SQUARES if families.published_file(size).exists())
