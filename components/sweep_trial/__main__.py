"""The training process of a trial: `python -m maskline.components.sweep_trial SPEC`."""

import gc
import sys


def main() -> int:
    """Import, then train by the spec file named; the exit code."""
    gc.disable()  # what is imported stays: looking for garbage in it costs half a second
    from .train import main as train

    gc.freeze()
    gc.enable()
    return train(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
