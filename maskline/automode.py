"""AutoMode: what a sweep tries when a job says how many trials it may spend, and nothing of what to try.

This file is the whole of it, and published on purpose: with the same version, facts and seed, trials that
run one at a time are the same. A sweep begins with the strongest known defaults, a trial each, and goes on
with Bayesian sampling around them; a bandit ends trials that stay far behind. Whatever the job fixes in
training_parameters is taken as it is, and left out of the space.

Models    by memory of the GPU and number of pictures: the first is the safest choice, the last the largest
Size      such that the median object is some 32 pixels wide, and not far from the pictures' own size
Epochs    such that a training sees some 6,000 pictures
Optimiser a sub-space for each of sgd and adamw, since their learning rates have nothing in common
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .search_space import Choice, LogUniform, SearchSpace
from .settings import complete, weights_wanted
from .sweep import BanditPolicy, EarlyTerminationPolicy

VERSION = 1
"""Of the rules in this file; told with every sweep, and raised when another sweep would come out."""
LIGHT = "maskrcnn_resnet18_fpn_light"
OBJECT_SIDE = 32
"""Pixels that the median object should measure: what the finest level of the pyramid is made for."""
PICTURES_SEEN = 6000
SLACK_FACTOR = 0.75
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
    """

    pictures: int
    side: float
    object_side: float
    memory: float = 0.0

    @classmethod
    def of(cls, coco: Mapping[str, Any], memory: float) -> "Facts":
        """The facts of training data, a COCO dictionary."""
        sides = [min(image["width"], image["height"]) for image in coco["images"]]
        objects = [math.sqrt(a["area"]) for a in coco["annotations"] if not a.get("iscrowd")]
        return cls(len(sides), float(median(sides)), round(median(objects or [OBJECT_SIDE]), 1), memory)

    def dump(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> "Facts":
        """The inverse of `dump`."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Strategy:
    """What a sweep in AutoMode tries.

    Attributes:
        facts: that it follows from.
        firsts: what the first trials try, each the index of a sub-space and values by parameter.
        spaces: what all later trials draw from, with Bayesian sampling.
        policy: what ends trials early.
        version: of the rules.
    """

    facts: Facts
    firsts: tuple[tuple[int, Mapping[str, Any]], ...]
    spaces: tuple[SearchSpace, ...]
    policy: EarlyTerminationPolicy
    version: int = VERSION

    def text(self, trials: int) -> str:
        """All of it in words, for a sweep of so many trials."""
        facts = self.facts
        where = f"a GPU of {facts.memory:g} GiB" if facts.memory else "processors, no GPU"
        lines = [
            f"AutoMode {self.version}: {facts.pictures} training pictures, shorter side {facts.side:g} px, "
            f"objects of {facts.object_side:g} px, {where}",
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
    pretrained = all(weights_wanted(complete({**fixed, "model_name": name})) != "none" for name in names)
    sizes = list(dict.fromkeys(min(size, fixed.get("max_size", size)) for size in _sizes(facts)))
    kinds = [kind for kind in _RATES[pretrained] if fixed.get("optimizer", kind) == kind]
    kinds = kinds or [str(fixed["optimizer"])]
    spaces, firsts = [], []
    for index, kind in enumerate(kinds):
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
        spaces.append(SearchSpace(**{k: v for k, v in knobs.items() if k not in fixed}))
        for place, name in enumerate(names):
            first = {"model_name": name, "learning_rate": default, "weight_decay": 1e-4}
            first |= {"min_size": sizes[0], "training_batch_size": 2}
            first |= {"layers_to_freeze": 2} if pretrained else {}
            drawn = {k: v for k, v in first.items() if k not in fixed and k in spaces[-1].knobs}
            firsts.append((place, index, {"optimizer": kind, **drawn}))
    known = complete({"number_of_epochs": _epochs(facts), **fixed})
    ends = policy(known.number_of_epochs // known.evaluation_frequency)
    ordered = sorted(firsts, key=lambda first: first[:2])  # each model with its optimisers, best model first
    return Strategy(facts, tuple((index, values) for _, index, values in ordered), tuple(spaces), ends)


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
    delay = math.ceil(TRUSTED_FROM * evaluations)
    return BanditPolicy(slack_factor=SLACK_FACTOR, evaluation_interval=1, delay_evaluation=delay)


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
