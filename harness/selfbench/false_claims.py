"""How often the comparisons claim what is not, miss what is, or open the gate: a part of `./run selfbench trust`.

The simulated runs go through the functions that `report`, `compare` and `--fail-if` call. Each value is that of the
worst noise, over as many independent simulations as its detail says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.compare.cells import RunData
from harness.compare.compare import Comparison, compare
from harness.compare.gate import FailIf
from harness.compare.noise_floor import measured_floor
from harness.compare.rows import METRICS, Row
from harness.compare.variants import VariantComparison, compare_within
from harness.errors import CriterionFailed, InvalidMeasurement
from harness.plan.options import AA_RUNS
from harness.record import TrialResult
from harness.selfbench.analysis import Entry, entry
from harness.selfbench.simulated_runs import NOISES, World, variant_names

INTERLEAVED = 3000
"""Simulated runs per noise. The standard error of a share of 0.05 is 0.004, of POWER's 0.95 0.007, of SINGLE's 0.01."""
POWER = 1000
SINGLE = 500
GATE = 60
SIDE = 3
"""Runs a side."""
SLOWER = 1.1
SHARE = 0.05

Within = Callable[[Sequence[TrialResult]], Sequence[Row]]
Between = Callable[[World, float], Comparison | VariantComparison]
"""Makes what is compared, whose B is slower by the factor, and compares it."""


def within_run(rows: Sequence[TrialResult]) -> Sequence[Row]:
    """The rows of the variants of one run, as the summary shows them."""
    return compare_within(rows, variants=variant_names()).rows


def with_floor(world: World, slower: float) -> Comparison:
    """Two single runs after `bench --aa 5`."""
    floor, _ = measured_floor([world.run(f"aa-{n}") for n in range(AA_RUNS)], METRICS)
    return compare(world.run("A"), world.run("B", slower=slower), floors={"rig": floor})


def without_floor(world: World, slower: float) -> Comparison:
    """Two single runs of a rig whose noise between runs was not measured."""
    return compare(world.run("A"), world.run("B", slower=slower))


def several_runs(world: World, slower: float) -> Comparison:
    """Three runs a side, measured in turns."""
    sides: tuple[list[RunData], list[RunData]] = ([], [])
    for number in range(SIDE):
        sides[0].append(world.run(f"A{number}"))
        sides[1].append(world.run(f"B{number}", slower=slower))
    return compare(*sides)


WAYS: Mapping[str, Between] = {
    "single runs with a floor of 5": with_floor,
    "single runs without a floor": without_floor,
    "three runs a side": several_runs,
}


def variants(world: World, slower: float) -> VariantComparison:
    """Two variants of one run."""
    return compare_within(world.interleaved(slower=slower), variants=variant_names())


def false_claims_interleaved(runs: int = INTERLEAVED, judge: Within = within_run) -> Entry:
    """Share of runs with two equal variants in which any figure is called different."""
    shares = {
        noise.name: _share(_claims(judge(World(noise, seed).interleaved())) for seed in range(runs)) for noise in NOISES
    }
    return _worst(shares, f"equal variants in 8 blocks, {runs:,} runs per noise; any claim counts")


def power(runs: int = POWER, judge: Within = within_run) -> Entry:
    """Share of runs in which a variant that is 10 % slower is found by its rate, at noise of 3 %."""
    noises = [noise for noise in NOISES if noise.within == 0.03 and noise.tails == "normal"]
    shares = {
        noise.name: _share(
            any(
                row.metric == "rps" and row.verdict == "slower"
                for row in judge(World(noise, seed).interleaved(slower=SLOWER))
            )
            for seed in range(runs)
        )
        for noise in noises
    }
    name = min(shares, key=lambda each: shares[each])
    return entry(shares[name], "share", ">= 0.95", f"10 % slower, 8 blocks, {runs:,} runs per noise; least with {name}")


def false_claims_single_runs(runs: int = SINGLE, ways: Mapping[str, Between] = WAYS) -> Entry:
    """Share of comparisons of equal runs in which any figure is called different, in the worst way and noise."""
    shares = _of_ways(ways, runs, 1.0, lambda comparison: _claims(comparison.rows))
    return _worst(
        shares, f"equal runs, {runs:,} comparisons per way and noise (a fifth without a floor); any claim counts"
    )


def gate_open(runs: int = GATE, ways: Mapping[str, Between] | None = None) -> Entry:
    """Share of comparisons with a B that is 10 % slower in which `--fail-if slower:5%` passes."""
    shares = _of_ways(ways or {**WAYS, "variants of one run": variants}, runs, SLOWER, _passes)
    return _worst(shares, f"10 % slower and --fail-if slower:5%, {runs:,} comparisons per way and noise")


def _of_ways(
    ways: Mapping[str, Between], runs: int, slower: float, event: Callable[[Comparison | VariantComparison], bool]
) -> dict[str, float]:
    """The share of the comparisons with the event, by way and noise.

    Without a floor a fifth of them is enough: only a factor of two is claimed there, and the gate never passes.
    """
    return {
        f"{name}, {noise.name}": _share(
            event(way(World(noise, seed), slower)) for seed in range(runs // 5 if way is without_floor else runs)
        )
        for name, way in ways.items()
        for noise in NOISES
    }


def _claims(rows: Iterable[Row]) -> bool:
    return any(row.verdict in ("faster", "slower") for row in rows)


def _passes(comparison: Comparison | VariantComparison) -> bool:
    gate = FailIf(share=SHARE)
    try:
        if isinstance(comparison, VariantComparison):
            gate.enforce_within(comparison)
        else:
            gate.enforce(comparison)
    except (CriterionFailed, InvalidMeasurement):
        return False
    return True


def _share(events: Iterable[bool]) -> float:
    found = list(events)
    return sum(found) / len(found)


def _worst(shares: Mapping[str, float], detail: str) -> Entry:
    name = max(shares, key=lambda each: shares[each])
    return entry(shares[name], "share", "<= 0.05", f"{detail}; most with {name}")
