"""What the report says, as plain rows and sentences."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

import yaml

from maskline.artifacts import FINDINGS, SplitName, TrialRecord
from maskline.dataset import PreparedDataset
from maskline.leaderboard import COLUMNS, rows, unfinished, varied
from maskline.page import Kind, Table, number
from maskline.settings import TrainingSettings, complete

COCO_MEANINGS: Mapping[str, str] = {
    "AP": "average precision, mean of IoU 0.50:0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "AP_small": "AP, objects under 32² pixels",
    "AP_medium": "AP, 32² to 96² pixels",
    "AP_large": "AP, over 96² pixels",
    "AR1": "average recall, 1 detection a class and picture",
    "AR10": "10 detections",
    "AR100": "100 detections",
    "AR_small": "AR100, objects under 32² pixels",
    "AR_medium": "AR100, 32² to 96² pixels",
    "AR_large": "AR100, over 96² pixels",
}
ERROR_MEANINGS: Mapping[str, str] = {
    "class": "lies well on an object (IoU ≥ 0.5), under another class's name",
    "localisation": "right class, but overlaps its object too little (IoU 0.1 to 0.5)",
    "class and localisation": "another class, and too little overlap",
    "duplicate": "of an object that a stronger detection found already",
    "background": "where there is nothing (IoU below 0.1 with any object)",
    "missed": "an object that no detection is about, not even a wrong one",
}
PACKAGES = ("maskline", "torch", "torchvision", "hotcoco", "pycocotools", "numpy", "optuna", "kfp")
ONNX_HEADS = ("size", "detections", "score", "box, pixels", "mask IoU", "CPU time")
FINDINGS_SHOWN = 20
ABSENT_SHOWN = 20
HEADINGS = {"best_epoch": "best epoch", "epochs_done": "epochs", "seconds": "time"}


def origin(split: SplitName, findings: Mapping[str, int], *, chosen: bool = True) -> str:
    """Which pictures the numbers come from, and what that means for them.

    Args:
        split: that was evaluated.
        findings: counts of the data set's findings.
        chosen: whether a trial or an epoch was chosen by its scores on the validation split.
    """
    if split == "test":
        if findings.get("shared_picture"):
            return "The numbers come from the test split; some of its pictures are in another split too."
        return "The numbers come from the test split, by which no trial was trained or chosen."
    if not chosen:
        return f"The numbers come from the {split} split, by which no trial was trained and no epoch chosen."
    return (
        f"The numbers come from the {split} split, by which the best trial and its best epoch were chosen, "
        "so they flatter the model somewhat; give test_data or test_data_size for numbers from pictures "
        "that it has not seen."
    )


def beside_validation(metrics: Mapping[str, Any], validation: Mapping[str, float]) -> Table:
    """The scores of the evaluated split, and those that the best trial had on the validation split."""
    names = {f"mask_{name}": (f"mask {name}", value) for name, value in metrics["mask"].items()}
    names |= {f"voc_{name}": (f"VOC {name} of masks", value) for name, value in metrics["voc"].items()}
    shown = [(text, value, validation[name]) for name, (text, value) in names.items() if name in validation]
    return Table(
        columns=[("", ""), ("test", "n"), ("validation", "n"), ("difference", "n")],
        rows=[
            [text, number(value), number(other), f"{value - other:+.3f}" if value >= 0 else "–"]
            for text, value, other in shown
        ],
    )


def onnx_table(parity: Mapping[str, Any]) -> Table:
    """How far the answers of the ONNX file are from the model's, by picture; parity.json of onnx_export."""
    pictures, allowed = parity["pictures"], parity["tolerances"]
    return Table(
        columns=[("picture", "name"), *((head, "n") for head in ONNX_HEADS)],
        rows=[
            [
                PurePath(one["file"]).name,
                f"{one['width']} × {one['height']}",
                str(one["detections"]),
                f"{one['score']:.1e}",
                f"{one['box']:.1e}",
                number(one["mask_iou"] if one["detections"] else None, 4),
                f"{one['seconds']:.2f} s",
            ]
            for one in pictures
        ],
        note=f"Largest differences on a picture, of detections with a score of at least "
        f"{parity['score_threshold']}. Allowed: {allowed['score']} of a score, {allowed['box']} of a box, "
        f"an IoU of {allowed['mask_iou']} of masks.",
    )


def warnings(metrics: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[str]:
    """What a reader should know before believing the numbers."""
    found = []
    counts = metrics["counts"]
    if counts["objects"] == 0:
        found.append("The split has no object to find, so the scores are undefined.")
    elif counts["predictions"] == 0:
        found.append("The model detected nothing on this split.")
    elif counts["deployed"] == 0:
        found.append(
            f"No detection reaches box_score_threshold={metrics['box_score_threshold']}, so a deployed "
            "model would report nothing; lower it or train longer."
        )
    absent = [name for name, row in metrics["classes"].items() if row["objects"] == 0]
    if absent and counts["objects"]:
        more = f" and {len(absent) - ABSENT_SHOWN} more" if len(absent) > ABSENT_SHOWN else ""
        named = ", ".join(absent[:ABSENT_SHOWN])
        found.append(f"Classes without an object in this split, which no score covers: {named}{more}.")
    failed = [str(trial.number) for trial in trials if trial.state == "failed"]
    if failed:
        found.append(f"Failed trials: {', '.join(failed)}; the reasons are in the table of the sweep.")
    if left := unfinished(trials):
        found.append(left)
    return found


def primary_label(metrics: Mapping[str, Any]) -> str:
    """The primary metric in words."""
    return {
        "mask_AP50": "mask AP at IoU 0.50",
        "mask_AP": "mask AP, IoU 0.50:0.95",
        "voc_mAP": f"VOC mAP of masks at IoU {metrics['iou_threshold']}",
    }[metrics["primary"]["name"]]


def leaderboard_table(trials: Sequence[TrialRecord], best: TrialRecord) -> Table:
    """The trials, best first."""
    names = [name for name in COLUMNS if name != "epochs"]
    found = rows(trials)
    parameters = [name for name in (found[0] if found else {}) if name not in (*COLUMNS, "reason")]
    words = {name for row in found for name in parameters if isinstance(row[name], str)}
    kinds: dict[str, Kind] = {name: "" if name in words else "n" for name in (*names, *parameters)}
    kinds |= {"state": "", "reason": "long"}
    order = [*names, *parameters, "reason"]
    return Table(
        columns=[(HEADINGS.get(name, name), kinds[name]) for name in order],
        rows=[[_cell(name, row) for name in order] for row in found],
        best=next((place for place, row in enumerate(found) if row["trial"] == best.number), None),
    )


def class_table(metrics: Mapping[str, Any]) -> Table:
    """The classes' numbers, masks and boxes."""
    keys = ("mask_AP", "mask_AP50", "mask_AP75", "box_AP", "box_AP50", "voc_AP", "precision", "recall")
    heads = ("mask AP", "AP50", "AP75", "box AP", "AP50", "VOC AP", "precision", "recall")
    return Table(
        columns=[("class", "name"), ("objects", "n"), *((head, "n") for head in heads)],
        rows=[
            [name, str(row["objects"]), *(number(row.get(key)) for key in keys)]
            for name, row in metrics["classes"].items()
        ],
        note=f"Precision and recall as deployed: detections with a score of at least "
        f"{metrics['box_score_threshold']}, at IoU {metrics['iou_threshold']}.",
    )


def size_table(metrics: Mapping[str, Any]) -> Table:
    """Mask AP by class and size."""
    keys = (
        "mask_AP_small",
        "mask_AP_medium",
        "mask_AP_large",
        "mask_AR_small",
        "mask_AR_medium",
        "mask_AR_large",
    )
    heads = ("AP small", "AP medium", "AP large", "AR small", "AR medium", "AR large")
    return Table(
        columns=[("class", "name"), *((head, "n") for head in heads)],
        rows=[[name, *(number(row.get(key)) for key in keys)] for name, row in metrics["classes"].items()],
    )


def threshold_table(metrics: Mapping[str, Any]) -> Table:
    """The score threshold with the best F1, for all predictions and by class."""
    found = metrics["analysis"]["thresholds"]
    rows_ = [("all classes together", found["all"]), *found["classes"].items()]
    return Table(
        columns=[("class", "name"), ("score", "n"), ("F1 there", "n")],
        rows=[
            [name, *((number(best["score"], 2), number(best["f1"])) if best else ("–", "–"))]
            for name, best in rows_
        ],
        best=0,
    )


def group_table(metrics: Mapping[str, Any]) -> Table:
    """Objects of each size, and thin ones, and how many of them are found as deployed."""
    meanings = {
        "small": "small, under 32² pixels",
        "medium": "medium, 32² to 96² pixels",
        "large": "large, from 96² pixels on",
        "thin": "thin: mean width under a tenth of its box's diagonal",
    }
    groups = metrics["analysis"]["groups"]
    return Table(
        columns=[("objects", "name"), ("number", "n"), ("found", "n"), ("share", "n")],
        rows=[
            [
                meaning,
                str(groups[name]["objects"]),
                str(groups[name]["found"]),
                number(groups[name]["found"] / groups[name]["objects"] if groups[name]["objects"] else None),
            ]
            for name, meaning in meanings.items()
        ],
        note=f"Found: by a detection with a score of at least {metrics['box_score_threshold']}, "
        f"at mask IoU {metrics['iou_threshold']}.",
    )


def knob_rows(settings: TrainingSettings, best: TrialRecord) -> list[dict[str, Any]]:
    """Every setting: name, value, default where the value differs from it, varied."""
    defaults = complete({"model_name": settings.model_name})
    chosen = set(varied([best]))
    return [
        {
            "name": name,
            "value": _plain(getattr(settings, name)),
            "default": None
            if name == "model_name" or getattr(settings, name) == getattr(defaults, name)
            else _plain(getattr(defaults, name)),
            "varied": name in chosen,
        }
        for name in type(settings).model_fields
    ]


def data_table(dataset: PreparedDataset) -> dict[str, Any]:
    """Pictures, objects and crowd regions by split, and objects by class and split."""
    counts: dict[str, Counter[int]] = {}
    crowd: dict[str, int] = {}
    images: dict[str, int] = {}
    for split in ("train", "validation", "test"):
        if split in dataset.splits:
            coco = dataset.coco(split)
            images[split] = len(coco["images"])
            crowd[split] = sum(bool(a.get("iscrowd")) for a in coco["annotations"])
            counts[split] = Counter(a["category_id"] for a in coco["annotations"] if not a.get("iscrowd"))
    return {
        "splits": list(images),
        "images": images,
        "objects": {split: found.total() for split, found in counts.items()},
        "crowd": crowd,
        "classes": [
            (name, {split: found[number] for split, found in counts.items()})
            for number, name in enumerate(dataset.classes, start=1)
        ],
    }


def findings_table(dataset: PreparedDataset) -> dict[str, Any]:
    """How many records were repaired or refused, by kind; the first of them; how many more there are."""
    file = dataset.path / FINDINGS
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    records = [json.loads(line) for line in lines if line.strip()]
    kinds = dataset.findings or dict(Counter(str(record.get("kind", "")) for record in records))
    return {
        "kinds": {kind: count for kind, count in kinds.items() if count},
        "first": [_finding(record) for record in records[:FINDINGS_SHOWN]],
        "more": max(0, len(records) - FINDINGS_SHOWN),
    }


def job_yaml(job: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether values were left out, and the job as YAML; environment variables may hold secrets."""
    shown = without_secrets(job)
    return bool(job.get("environment_variables")), yaml.safe_dump(
        shown, sort_keys=False, allow_unicode=True, width=100
    )


def without_secrets(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job as plain data, without the values of environment variables."""
    variables = job.get("environment_variables") or {}
    return {**job, **({"environment_variables": dict.fromkeys(variables, "...")} if variables else {})}


def versions() -> dict[str, str]:
    """Python and the packages that results depend on, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "python": platform.python_version(), "platform": platform.platform()}


def _finding(record: Mapping[str, Any]) -> dict[str, str]:
    text = f"{record['where']}: {record['what']} ({record['action']})"
    return {"kind": str(record["kind"]), "text": text}


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if value is None:
        return ""
    if name == "score":
        return f"{value:.4f}"
    if name == "epochs_done":
        return f"{value} of {row['epochs']}"
    if name == "seconds":
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
    return _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
