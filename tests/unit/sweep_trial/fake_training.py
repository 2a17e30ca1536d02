"""A training that keeps the contract of `sweep_trial.train` and learns nothing; run by the tests of faults.

It continues from its checkpoint, saves one on SIGTERM and exits with 143, goes when its supervisor is gone,
and leaves a file `double` if it finds another training at work in its directory.
"""

import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path


def main(spec_file: str, seconds: float) -> int:
    spec = json.loads(Path(spec_file).read_text())
    folder, settings = Path(spec["directory"]), spec["settings"]
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (folder / "double").touch()
    supervisor, asked = os.getppid(), []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    last = folder / "last.safetensors"
    done = int(last.read_text()) if last.exists() else 0
    print(f"starts after epoch {done}", flush=True)
    lines = (folder / "metrics.jsonl").read_text().splitlines()[:done] if done else []
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for epoch in range(done + 1, settings["number_of_epochs"] + 1):
        end = time.time() + seconds
        while time.time() < end:
            if asked or os.getppid() != supervisor:
                return 143
            time.sleep(0.005)
        score = settings["learning_rate"] * (1 - 0.5**epoch)
        with (folder / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps({"epoch": epoch, "score": score}) + "\n")
        (folder / "best.safetensors").write_text(str(epoch))
        whole(last, str(epoch))
        if time.time() > spec["deadline"]:
            break
    return 0


def whole(path: Path, text: str) -> None:
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1], float(os.environ.get("FAKE_EPOCH_SECONDS", "0.05"))))
