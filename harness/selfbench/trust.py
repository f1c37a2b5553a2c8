"""How far the numbers and verdicts can be trusted: `./run selfbench trust`.

Each figure is the share of simulated or provoked cases in which the project decides right or wrong, where the truth is
known. A figure that cannot be measured is left out of the JSON; the reason is printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from harness.selfbench import capacity, false_claims, foreign_load, sampler_overhead, wait_causes
from harness.selfbench.analysis import Entry
from harness.text import strict_json

FIGURES: dict[str, Callable[[], Entry]] = {
    "trust.false_claims_interleaved": false_claims.false_claims_interleaved,
    "trust.power_10pct": false_claims.power,
    "trust.false_claims_single_runs": false_claims.false_claims_single_runs,
    "trust.gate_open_at_10pct": false_claims.gate_open,
    "trust.capacity_within_5pct": capacity.capacity_within_5pct,
    "trust.capacity_interval_covers": capacity.capacity_interval_covers,
    "trust.foreign_load_caught": foreign_load.foreign_load_caught,
    "trust.foreign_load_false": foreign_load.foreign_load_false,
    "trust.wait_cause_named": wait_causes.wait_cause_named,
    "trust.wait_sampler_overhead": sampler_overhead.wait_sampler_overhead,
}


def main(json_path: Path | None = None) -> None:
    """Measures, prints one line per figure, and writes `{name: {value, unit, target, detail}}` to `json_path`."""
    entries: dict[str, Entry] = {}
    for name, measure in FIGURES.items():
        started = time.monotonic()
        figure = measure()
        if figure["value"] is None:
            print(f"{name:32} not measured: {figure['detail']}", flush=True)
            continue
        entries[name] = figure
        print(
            f"{name:32} {figure['value']:>6}   target {figure['target']:8} {figure['detail']} "
            f"({time.monotonic() - started:.0f} s)",
            flush=True,
        )
    if json_path:
        json_path.write_text(strict_json(entries, indent=1) + "\n", encoding="utf-8")
