"""The page of a whole suite is small enough to be sent and kept: with telemetry of all hosts, three trials per cell."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from pathlib import Path

from harness.report.page import write_report
from harness.report.run_summary import summarise
from harness.rig.state import ROOT
from harness.store.run_reader import Run, load_run
from tests.support.suite import suite

MOST_BYTES = 1_000_000
SECONDS = 8.0


def with_telemetry(run: Run) -> Run:
    """Adds telemetry of every trial: the metrics of the example's hosts, with other values at each reading."""
    with (ROOT / "results/example/telemetry.csv").open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    first = float(rows[0][0])
    rows = [row for row in rows if float(row[0]) - first <= SECONDS]
    with (run.path / "telemetry.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(_readings(run, rows, first))
    return load_run(run.path)


def _readings(run: Run, rows: list[list[str]], first: float) -> Iterator[list[str | float | int]]:
    rng = random.Random(1)
    hosts = {"db-1": "db", "lb-1": "lb", "load-1": "load"}
    for order in range(1, len(run.rows) + 1):
        for second, _, host, metric, value in rows:
            other = float(value) * rng.uniform(0.5, 1.5) if metric.endswith("seconds") else rng.uniform(0, 8)
            at = round((SECONDS + 1) * order + float(second) - first, 2)
            yield [at, order, hosts.get(host, host), metric, round(other, 6)]


def test_the_page_of_a_suite_has_at_most_a_megabyte(tmp_path: Path) -> None:
    run = with_telemetry(suite(tmp_path, trials=3))
    assert len(run.rows) > 100
    page = write_report(summarise(run)).read_text(encoding="utf-8")
    assert page.count("Hosts and database over time") >= 10
    assert page.count("<svg") > 40
    assert 300_000 < len(page.encode()) <= MOST_BYTES
