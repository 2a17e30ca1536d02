"""AutoMode: what a sweep tries when a job says how many trials it may spend, and nothing of what to try.

This file is the whole of it, and published on purpose: with the same version, facts and seed, trials that
run one at a time are the same. A sweep begins with the strongest known defaults, a trial each, and goes on
with Bayesian sampling around them; a bandit whose slack closes ends trials that stay behind. Whatever the
job fixes in training_parameters is taken as it is, and left out of the space.

Models    by memory of the GPU and number of pictures: the first is the safest choice, the last the largest
Size      such that the median object is some 32 pixels wide, and not far from the pictures' own size
Epochs    such that a training sees some 6,000 pictures
Optimiser a sub-space for each of sgd and adamw, since their learning rates have nothing in common
RF-DETR   a sub-space of its own on GPUs from 10 GiB on, where its packages and published weights are at hand
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .families import RFDETR, beyond, foreign
from .search_space import Choice, LogUniform, SearchSpace
from .settings import complete, weights_wanted
from .sweep import ClosingBanditPolicy, EarlyTerminationPolicy

VERSION = 2
"""Of the rules in this file; told with every sweep, and raised when another sweep would come out."""
LIGHT = "maskrcnn_resnet18_fpn_light"
OBJECT_SIDE = 32
"""Pixels that the median object should measure: what the finest level of the pyramid is made for."""
PICTURES_SEEN = 6000
LEAST_MEMORY = 10
"""GiB of the GPU that RF-DETR is tried from."""
_SIZES = (["small", "medium"], ["medium", "large"])
"""Its sizes on a GPU of less than 16 GiB, and of more."""
SLACK_FACTOR = 2
TRUSTED_FROM = 0.4
"""Share of a training's evaluations after which scores are compared: before, they say little of its end."""


@dataclass(frozen=True)
class Facts:
    """What the choice depends on.

    Attributes:
        pictures: to train on.
        side: median of the pictures' shorter sides, in pixels.
        object_side: median of the objects' sizes, in pixels: square roots of their areas.
        memory: of the GPU, in GiB; 0 where trials run on processors.
        rfdetr: sizes of rfdetr_seg whose published weights are at hand; none without its packages.
    """

    pictures: int
    side: float
    object_side: float
    memory: float = 0.0
    rfdetr: tuple[str, ...] = ()

    @classmethod
    def of(cls, coco: Mapping[str, Any], memory: float, rfdetr: tuple[str, ...] = ()) -> "Facts":
        """The facts of training data, a COCO dictionary, and of the machine."""
        sides = [min(image["width"], image["height"]) for image in coco["images"]]
        objects = [math.sqrt(a["area"]) for a in coco["annotations"] if not a.get("iscrowd")]
        object_side = round(median(objects or [OBJECT_SIDE]), 1)
        return cls(len(sides), float(median(sides)), object_side, memory, rfdetr)

    def dump(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Facts":
        """The inverse of `dump`."""
        found = json.loads(text)
        return cls(**{**found, "rfdetr": tuple(found.get("rfdetr", ()))})


@dataclass(frozen=True)
class Strategy:
    """What a sweep in AutoMode tries.

    Attributes:
        facts: that it follows from.
        firsts: what the first trials try, each the index of a sub-space and values by parameter.
        spaces: what all later trials draw from, with Bayesian sampling.
        policy: what ends trials early.
        why: whether rfdetr_seg is among the models, and why.
        version: of the rules.
    """

    facts: Facts
    firsts: tuple[tuple[int, Mapping[str, Any]], ...]
    spaces: tuple[SearchSpace, ...]
    policy: EarlyTerminationPolicy
    why: str = ""
    version: int = VERSION

    def text(self, trials: int) -> str:
        """All of it in words, for a sweep of so many trials."""
        facts = self.facts
        where = f"a GPU of {facts.memory:g} GiB" if facts.memory else "processors, no GPU"
        lines = [
            f"AutoMode {self.version}: {facts.pictures} training pictures, shorter side {facts.side:g} px, "
            f"objects of {facts.object_side:g} px, {where}",
            self.why,
            "first, a trial each:",
        ]
        shown = self.firsts[:trials]
        lines += [f"  {n}  {_words(values)}" for n, (_, values) in enumerate(shown)]
        if trials > len(shown):
            lines.append(f"then, {trials - len(shown)} trials by bayesian sampling from:")
            for space in self.spaces:
                lines += [f"  - {name}: {knob}" for name, knob in space.knobs.items()] + [""]
        lines.append("early_termination: " + _words(self.policy.plain()))
        return "\n".join(line for line in lines if line)


def strategy(facts: Facts, fixed: Mapping[str, Any]) -> Strategy:
    """What to try with these data on this hardware.

    Args:
        facts: of the training data, and the memory.
        fixed: training parameters that the job fixes.
    """
    names = [fixed["model_name"]] if "model_name" in fixed else models(facts.memory, facts.pictures)
    refusal = _refusal(facts, fixed)
    parts: list[_Part] = []
    if names == [RFDETR] or not (refusal or "model_name" in fixed):
        parts.append(_rfdetr(facts, fixed))
    if names != [RFDETR]:
        parts = [*_mask_rcnn(facts, fixed, names), *parts]  # the safest first
    firsts = [(place, index, values) for index, (_, some) in enumerate(parts) for place, values in some]
    known = complete({"number_of_epochs": _epochs(facts), **fixed})
    ends = policy(known.number_of_epochs // known.evaluation_frequency)
    ordered = sorted(firsts, key=lambda first: first[:2])  # each model with its optimisers, best model first
    points = tuple((index, values) for _, index, values in ordered)
    why = "" if "model_name" in fixed else f"{RFDETR} is left out: {refusal}" if refusal else _PUBLISHED
    return Strategy(facts, points, tuple(space for space, _ in parts), ends, why)


_Part = tuple[SearchSpace, list[tuple[int, Mapping[str, Any]]]]
"""A sub-space, and what the first trials in it try, each with the place of its model."""
_PUBLISHED = (
    f"{RFDETR} is among the models, since it is at hand: its published weights have 43 to 49 mask AP on "
    "COCO, those of maskrcnn_resnet50_fpn 34.6"
)


def _refusal(facts: Facts, fixed: Mapping[str, Any]) -> str:
    """Why RF-DETR isn't tried beside other models; empty if it is."""
    settings = complete({**fixed, "model_name": RFDETR})
    if facts.memory < LEAST_MEMORY:
        return f"it takes a GPU of {LEAST_MEMORY} GiB"
    if settings.checkpoint_run_id or settings.advanced.pretrained_weights:
        return "the job says what training starts from, and its own weights are others"
    if not facts.rfdetr:
        return "its packages (the extra rfdetr) or its published weights are not on this machine"
    return "; ".join(line.split(":")[0] for line in [*foreign(settings), *beyond(settings)])


def _rfdetr(facts: Facts, fixed: Mapping[str, Any]) -> _Part:
    """RF-DETR, around the rate that its publishers train it with."""
    sizes = (
        [size for size in _SIZES[facts.memory >= 16] if size in facts.rfdetr] if facts.memory else ["small"]
    )
    sizes = sizes or list(facts.rfdetr[:1]) or ["medium"]
    knobs: dict[str, Any] = {
        "model_name": RFDETR,
        "model_size": Choice(sizes) if len(sizes) > 1 else sizes[0],
        "optimizer": "adamw",
        "learning_rate": _log_uniform(3e-5, 3e-4),
        "weight_decay": _log_uniform(1e-5, 1e-3),
        "training_batch_size": Choice([2, 4]),
        "number_of_epochs": _epochs(facts),
    }
    first = {"model_name": RFDETR, "model_size": sizes[0], "learning_rate": 1e-4, "weight_decay": 1e-4}
    first |= {"training_batch_size": 2}
    space = SearchSpace(**{k: v for k, v in knobs.items() if k not in fixed})
    return space, [(0, {k: v for k, v in first.items() if k not in fixed and k in space})]


def _mask_rcnn(facts: Facts, fixed: Mapping[str, Any], names: list[str]) -> list[_Part]:
    """Mask R-CNN: a sub-space for each optimiser."""
    pretrained = all(weights_wanted(complete({**fixed, "model_name": name})) != "none" for name in names)
    sizes = list(dict.fromkeys(min(size, fixed.get("max_size", size)) for size in _sizes(facts)))
    kinds = [kind for kind in _RATES[pretrained] if fixed.get("optimizer", kind) == kind]
    kinds = kinds or [str(fixed["optimizer"])]
    parts: list[_Part] = []
    for kind in kinds:
        low, default, high = _RATES[pretrained].get(kind, _RATES[pretrained]["adamw"])
        knobs: dict[str, Any] = {
            "model_name": Choice(names) if len(names) > 1 else names[0],
            "optimizer": kind,
            "learning_rate": _log_uniform(low, high),
            "weight_decay": _log_uniform(1e-5, 1e-3),
            "min_size": Choice(sizes) if len(sizes) > 1 else sizes[0],
            "max_size": round(max(sizes[-1], fixed.get("min_size", 0)) * 5 / 3),
            "training_batch_size": Choice([2, 4]),
            "number_of_epochs": _epochs(facts),
        }
        if pretrained:
            knobs["layers_to_freeze"] = Choice([0, 2, 3])
        space = SearchSpace(**{k: v for k, v in knobs.items() if k not in fixed})
        first = {"learning_rate": default, "weight_decay": 1e-4, "min_size": sizes[0]}
        first |= {"training_batch_size": 2, **({"layers_to_freeze": 2} if pretrained else {})}
        drawn = {k: v for k, v in first.items() if k not in fixed and k in space}
        named = ({} if "model_name" in fixed else {"model_name": name} for name in names)
        parts.append((space, [(n, {"optimizer": kind, **own, **drawn}) for n, own in enumerate(named)]))
    return parts


_RATES: Mapping[bool, Mapping[str, tuple[float, float, float]]] = {
    True: {"sgd": (0.0005, 0.005, 0.02), "adamw": (1e-5, 1e-4, 5e-4)},
    False: {"adamw": (1e-4, 7e-4, 3e-3), "sgd": (0.002, 0.01, 0.05)},
}
"""Whether training starts from weights -> optimiser -> least, default and greatest learning rate; the better
optimiser first."""


def policy(evaluations: int) -> EarlyTerminationPolicy:
    """What ends trials early: `make bench ONLY=early_termination` measures it on recorded trainings.

    Args:
        evaluations: of a whole training.
    """
    whole = max(2, evaluations)
    delay = min(math.ceil(TRUSTED_FROM * whole), whole - 1)
    return ClosingBanditPolicy(
        slack_factor=SLACK_FACTOR, evaluation_interval=1, delay_evaluation=delay, evaluations=whole
    )


def models(memory: float, pictures: int) -> list[str]:
    """The models that are worth their memory and don't outgrow their data, the safest first.

    Args:
        memory: of the GPU, in GiB; 0 for none.
        pictures: to train on.
    """
    if memory == 0:
        return [LIGHT]
    if memory < 6:
        return ["maskrcnn_resnet18_fpn", LIGHT]
    if memory < 10 or pictures < 300:
        return ["maskrcnn_resnet50_fpn", "maskrcnn_resnet34_fpn"]
    found = ["maskrcnn_resnet50_fpn", "maskrcnn_resnet101_fpn"]
    return [*found, "maskrcnn_resnet152_fpn"] if memory >= 16 and pictures >= 2000 else found


def _log_uniform(low: float, high: float) -> LogUniform:
    """Every order of magnitude between two numbers alike."""
    return LogUniform(min_value=round(math.log(low), 4), max_value=round(math.log(high), 4))


def _sizes(facts: Facts) -> list[int]:
    """Shorter sides to train at, in multiples of 32: the one that suits the objects, and a larger one."""
    least, most = (128, 320) if facts.memory == 0 else (320, 800 if facts.memory < 10 else 1024)
    suits = facts.side * min(2.0, max(0.5, OBJECT_SIDE / facts.object_side))
    sizes = [min(most, max(least, 32 * round(side / 32))) for side in (suits, 1.33 * suits)]
    return list(dict.fromkeys(sizes))


def _epochs(facts: Facts) -> int:
    most = 30 if facts.memory == 0 else 60
    return min(most, max(12, round(PICTURES_SEEN / facts.pictures)))


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
