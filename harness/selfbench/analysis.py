"""Measures the time and memory to read and check a million samples: a part of `./run selfbench load`."""

from __future__ import annotations

import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from harness.checks import counter_oracle
from harness.load.results import samples
from harness.model import Cell
from harness.record import Evidence

MILLION = 1_000_000

Entry = dict[str, object]
"""A figure of `selfbench --json`: value, unit, target, detail."""


def entry(value: float | None, unit: str, target: str, detail: str) -> Entry:
    """A figure; `value` is None if it was not measured, `detail` tells how or why not."""
    return {"value": None if value is None else round(value, 3), "unit": unit, "target": target, "detail": detail}


def analysis(folder: Path) -> dict[str, Entry]:
    """Time and peak memory of a process that reads a million samples and checks them."""
    path = folder / "samples.csv.gz"
    samples.write(path, _correct_samples(MILLION))
    command = [sys.executable, "-m", "harness.selfbench.analysis", str(path)]
    results = [
        json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
        )
        for _ in range(3)
    ]
    seconds = statistics.median(result["seconds"] for result in results)
    memory = max(result["mb"] for result in results)
    cpu = statistics.median(result["cpu"] for result in results)
    detail = f"reading samples.csv.gz, percentiles and the counter oracle; median of 3, {cpu:.1f} s of it CPU"
    return {
        "analyse.seconds_per_million": entry(seconds, "s", "<= 5", detail),
        "analyse.mb_per_million": entry(memory, "MB", "<= 300", "peak resident memory of that process"),
    }


def _correct_samples(number: int) -> Iterator[samples.Sample]:
    """Increments of 100 keys, as a linearizable counter answers them."""
    rng = random.Random(1)
    values = [0] * 100
    for seq in range(number):
        key = rng.randrange(100)
        values[key] += 1
        sent = seq * 50
        done = sent + 40 + rng.randrange(9)
        yield samples.Sample(
            seq,
            "increment",
            f"hot-{key}",
            f"app-{seq % 4 + 1}",
            sent,
            sent,
            done,
            "ok",
            200,
            values[key],
            "",
            "",
            "load-1",
            "measure",
        )


def _analyse(path: Path) -> dict[str, float]:
    begin, begin_cpu = time.perf_counter(), time.process_time()
    loaded = samples.read_samples(path)
    latencies = sorted(done - due for done, due in zip(loaded.done_us, loaded.due_us, strict=True))
    quantiles = [latencies[int(q * len(latencies))] for q in (0.5, 0.95, 0.99, 0.999)]
    final = Counter(loaded.key)
    cell, evidence = Cell(scenario="selfbench"), Evidence(final=final)
    checks = (counter_oracle.check_final_value, counter_oracle.check_value_sequence)
    findings = [
        *(check(cell, loaded, evidence) for check in checks),
        counter_oracle.check_real_time_order(cell, loaded),
    ]
    if any(finding.verdict != "pass" for finding in findings) or not quantiles[0]:
        raise RuntimeError(f"correct samples do not pass: {findings}")
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    return {"seconds": seconds, "cpu": cpu, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    print(json.dumps(_analyse(Path(sys.argv[1]))))
