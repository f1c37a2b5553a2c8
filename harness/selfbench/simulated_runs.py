"""Simulated runs whose true difference is known, for `./run selfbench trust`.

Every trial has a slowness that all its figures share, from the noise of its `World`, and a smaller part that is
independent for each figure: the percentiles of a trial move with its rate, and p99 scatters more than p50. The rows
are those that `compare` and `report` read, and the order of trials within a block is the planner's. A closed cell has
the throughput and an open one, at a share of its rate, the latencies: only these are compared.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.compare.cells import RunData
from harness.model import Cell, Trial
from harness.plan import blocks
from harness.plan.load_share import open_cell, with_rate
from harness.plan.variants import Variant, varied_keys, with_variant
from harness.record import TrialResult

Tails = Literal["normal", "t2", "t3", "stalls"]
LEVELS = {"rps": 3000.0, "p50_ms": 5.0, "p95_ms": 9.0, "p99_ms": 14.0}
OWN = {"rps": 0.0, "p50_ms": 0.3, "p95_ms": 0.5, "p99_ms": 1.0}
"""Standard deviation of a figure's own part, relative to that of the shared one."""
LARGEST_INNOVATION = math.log(1000)
"""No trial or session is a thousand times as slow or fast as the others: figures of heavy tails stay measurable."""
STALLED = 0.05
"""Share of the trials that take twice as long, with `stalls`."""
VARIANTS = tuple(
    Variant(name=name, settings={"postgres.work_mem": size}) for name, size in (("A", "4MB"), ("B", "8MB"))
)
CELL = Cell(scenario="throughput", hosts=4, clients=64, seconds=4.0, params={"keys": "hot"})
OPEN = open_cell(CELL, 1.0)
BLOCKS = 8
"""Blocks of a run, and trials of a cell in a run without variants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What makes identical measurements differ, as shares: 0.03 is 3 %.

    `within`: standard deviation of a trial; `between`: of a session, which all its trials share; `drift`: growth per
    trial; `memory`: correlation of a trial with the one before.
    """

    name: str
    within: float
    between: float = 0.0
    drift: float = 0.0
    memory: float = 0.0
    tails: Tails = "normal"


NOISES = (
    Noise(name="1 % within a session, 1 % between", within=0.01, between=0.01),
    Noise(name="1 % within, 2 % between", within=0.01, between=0.02),
    Noise(name="3 % within, 3 % between", within=0.03, between=0.03),
    Noise(name="drift of 0.5 % a trial", within=0.01, drift=0.005),
    Noise(name="autocorrelation of 0.9", within=0.03, between=0.03, memory=0.9),
    Noise(name="Student's t with 2 degrees of freedom", within=0.03, between=0.03, tails="t2"),
    Noise(name="Student's t with 3 degrees of freedom", within=0.03, between=0.03, tails="t3"),
    Noise(name="one trial of 20 takes twice as long", within=0.03, between=0.03, tails="stalls"),
)


class World:
    """A machine over time: its noise goes on from trial to trial and from session to session."""

    def __init__(self, noise: Noise, seed: int) -> None:
        self.rng = random.Random(f"{noise.name} {seed}")
        self._noise = noise
        self._trials = 0
        self._session = 0.0
        self._last = self._innovation(noise.within)

    def run(self, run_id: str, *, slower: float = 1.0, trials: int = BLOCKS) -> RunData:
        """A run of both cells in a separate session, slower by this factor."""
        self._session = self._innovation(self._noise.between)
        rows: list[TrialResult] = []
        for number, cell in itertools.product(range(1, trials + 1), (CELL, OPEN)):
            trial = Trial(cell=cell, number=number, order=len(rows) + 1, seed=1)
            rows.append(self._row(with_rate(trial, rows[-1:]), slower))
        return RunData(run_id=run_id, manifest=dict(MANIFEST), rows=rows)

    def interleaved(self, *, slower: float = 1.0, number: int = BLOCKS) -> list[TrialResult]:
        """The rows of one run with two variants in blocks, of which the second is slower by this factor."""
        self._session = self._innovation(self._noise.between)
        groups = [
            tuple(with_variant(cell, variant, varied_keys(VARIANTS)) for variant in VARIANTS) for cell in (CELL, OPEN)
        ]
        orders = itertools.count(1)
        rows: list[TrialResult] = []
        for block in range(1, number + 1):
            for trial in blocks.blocks(groups, block, self.rng, orders):
                offered = with_rate(trial, rows[-len(groups) * len(VARIANTS) :], baseline=VARIANTS[0].name)
                rows.append(self._row(offered, slower if trial.cell.variant == "B" else 1.0))
        return rows

    def _row(self, trial: Trial, slower: float) -> TrialResult:
        shared = self._session + self._next() + math.log(slower)
        figures: dict[str, float | None] = {}
        for name, level in LEVELS.items():
            own = OWN[name] * self._noise.within
            slowness = shared + (self.rng.gauss(0, own) if own else 0.0)
            figures[name] = level * math.exp(-slowness if name == "rps" else slowness)
        return TrialResult(trial=trial, steady=True, figures=figures)

    def _next(self) -> float:
        noise = self._noise
        fresh = self._innovation(noise.within)
        self._last = noise.memory * self._last + math.sqrt(1 - noise.memory**2) * fresh
        self._trials += 1
        stalled = math.log(2) if noise.tails == "stalls" and self.rng.random() < STALLED else 0.0
        return self._last + noise.drift * self._trials + stalled

    def _innovation(self, scale: float) -> float:
        freedom = {"t2": 2, "t3": 3}.get(self._noise.tails)
        if not freedom:
            return self.rng.gauss(0, scale)
        drawn = scale * self.rng.gauss(0, 1) / math.sqrt(self.rng.gammavariate(freedom / 2, 2) / freedom)
        return max(-LARGEST_INNOVATION, min(drawn, LARGEST_INNOVATION))


MANIFEST = {"format": 1, "status": "finished", "verdict": "pass", "rig": {"hosts": [{"name": "db", "role": "db"}]}}


def variant_names() -> Sequence[str]:
    """The names of the variants, the baseline first."""
    return [variant.name for variant in VARIANTS]
