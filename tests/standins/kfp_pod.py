"""What stands between Kubernetes and a stage in a pod of Kubeflow Pipelines: processes and signals.

    python tests/standins/kfp_pod.py SECONDS LOOKED COMMAND...

Run as process 1 of a container or of a PID namespace. Two programs of the real pod are imitated:

* Argo's emissary, process 1 (cmd/argoexec/commands/emissary.go and workflow/executor/osspecific, as in 3.7
  and 4): it starts the launcher in a process group of its own; passes every signal but SIGCHLD and
  SIGURG on to that whole group; and looks once a second whether the launcher has ended, whatever it has
  started. Then it ends itself, and the kernel kills everything that is left.
* KFP's launcher (backend/src/v2/component/launcher_v2.go): it starts the stage with Go's `exec.Command`, in
  its own process group, copies what the stage prints from a pipe, and handles no signal: SIGTERM ends it at
  once.

SECONDS lie between two looks (the emissary: 1), and the file LOOKED is written anew at each.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KEPT = {signal.SIGCHLD, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP}
LAUNCHER = "launcher"


def emissary(seconds: float, looked: Path, command: list[str]) -> None:
    """Process 1."""
    launcher = subprocess.Popen([sys.executable, __file__, LAUNCHER, *command], process_group=0)
    for number in signal.valid_signals() - KEPT:
        signal.signal(number, lambda sent, frame: os.killpg(launcher.pid, sent))
    while True:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process == launcher.pid:
            os._exit(
                128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
            )
        looked.write_text("")
        time.sleep(seconds)


def launcher(command: list[str]) -> int:
    """What starts the stage."""
    stage = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert stage.stdout is not None
    while data := os.read(stage.stdout.fileno(), 1 << 15):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return stage.wait()


if __name__ == "__main__":
    if sys.argv[1] == LAUNCHER:
        sys.exit(launcher(sys.argv[2:]))
    emissary(float(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
