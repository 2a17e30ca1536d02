"""What a benchmark is: ours and the peer in turn, in one run, and a target for the figure."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

RESULTS = Path("build/bench.json")


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: of the benchmark, a dot, of the figure.
        value: what was measured.
        target: what it is to reach.
        better: whether `higher` or `lower` values are better.
        peer: what it was measured against, in words.
        unit: of the value; `x` is a ratio.
    """

    name: str
    value: float
    target: float
    better: str
    peer: str
    unit: str = "x"

    @property
    def ok(self) -> bool:
        """Whether the target is reached."""
        return self.value >= self.target if self.better == "higher" else self.value <= self.target

    def line(self) -> str:
        """`name  value  target  ok|short`."""
        sign = "≥" if self.better == "higher" else "≤"
        return (
            f"{self.name:<40} {self.value:>10.3g} {self.unit:<4} {sign} {self.target:<8.3g}"
            f" {'ok' if self.ok else 'short'}"
        )


Benchmark = Callable[[], Iterable[Figure]]


def run(benchmarks: dict[str, Benchmark], only: str | None) -> int:
    """Run the benchmarks, print a line a figure, write RESULTS; not 0 only if there is no such benchmark."""
    if only is not None and only not in benchmarks:
        print(f"no benchmark is called {only}; there are {', '.join(sorted(benchmarks))}")
        return 2
    figures: list[dict[str, object]] = []
    if only and RESULTS.exists():
        known = json.loads(RESULTS.read_text(encoding="utf-8"))
        figures += [figure for figure in known if not str(figure["name"]).startswith(f"{only}.")]
    for name in [only] if only else sorted(benchmarks):
        for figure in benchmarks[name]():
            print(figure.line(), flush=True)
            command = f"make bench ONLY={name}"
            figures.append(
                {k: v for k, v in asdict(figure).items() if k != "better"}
                | {"ok": figure.ok, "command": command}
            )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def in_turn(*variants: Callable[[], object], rounds: int = 5) -> list[float]:
    """Median CPU seconds of each variant; they take turns, so that a busy machine is busy for all."""
    taken: list[list[float]] = [[] for _ in variants]
    for _ in range(rounds):
        for seconds, variant in zip(taken, variants, strict=True):
            began = time.process_time()
            variant()
            seconds.append(time.process_time() - began)
    return [median(seconds) for seconds in taken]
