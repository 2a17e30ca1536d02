"""A piece of work of the evaluation's benchmark, in a process of its own: CPU, time and memory as JSON."""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Work = Callable[[], object]


def pycocotools(folder: Path) -> Work:
    """The mask numbers as its manual has them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def work() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(str(folder / "validation.json"))
            evaluator = COCOeval(truth, truth.loadRes(str(folder / "predictions.json")), "segm")
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()

    return work


def mask(folder: Path) -> Work:
    """The mask numbers alone."""
    from maskline.metrics import coco_scores

    return lambda: coco_scores(folder / "validation.json", folder / "predictions.json")


def everything(folder: Path) -> Work:
    """Mask, box and VOC numbers together."""
    from maskline.metrics import Scoring, summarized
    from maskline.voc import summarize, voc_verdicts

    def work() -> None:
        scoring = Scoring(folder / "validation.json", folder / "predictions.json")
        summarized(scoring.coco("segm", iou_threshold=0.5), scoring.names)
        summarize(voc_verdicts(scoring, 0.5), scoring.names)
        summarized(scoring.coco("bbox"), scoring.names)

    return work


def report(folder: Path) -> Work:
    """All numbers and the report of a run with 50 trials."""
    from maskline.components.evaluation.measure import rebuild

    from .evaluation import prepare_report

    prepare_report(folder)
    return lambda: rebuild(folder, folder / "report.html")


def _peak() -> float:
    """Peak memory in MiB. Not `ru_maxrss`, which begins with that of the process that started this one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(variant: str, folder: Path) -> None:
    """Import, then measure."""
    work = {"pycocotools": pycocotools, "mask": mask, "all": everything, "report": report}[variant](folder)
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    told = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "memory": _peak(),
    }
    if (folder / "report.html").exists():
        told["size"] = (folder / "report.html").stat().st_size
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
