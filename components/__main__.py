"""Run a stage in its container, as KFP asks for it: `python3 -m maskline.components kfp.dsl.executor_main …`.

The image carries the stages, so a pipeline names them and needn't carry their text. KFP's executor reads what
comes in, calls the function of the stage's door, and writes what goes out. Its name stands in the command
since kfp.local's SubprocessRunner runs no command without it.
"""

import json
import os
from argparse import ArgumentParser
from importlib import import_module

from kfp.dsl.executor import Executor


def main() -> None:
    """Call the door of the stage that is named."""
    parser = ArgumentParser(description="Run a stage as KFP asks for it.")
    parser.add_argument("executor", help="kfp.dsl.executor_main")
    parser.add_argument("--function_to_execute", required=True, help="Name of the stage.")
    parser.add_argument("--executor_input", required=True, type=json.loads, help="KFP's, as JSON.")
    given = parser.parse_args()
    # Before torch is imported: its threads spin while they wait, which other programs' work prolongs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    name = given.function_to_execute
    door = getattr(import_module(f"maskline.components.{name}.component"), name)
    Executor(executor_input=given.executor_input, function_to_execute=door.python_func).execute()


if __name__ == "__main__":
    main()
