"""Bulk inserts of 1 to 10,000 rows a request over 4 hosts: rows a second, and all or nothing.

Every row's text begins with its request's number, so the database itself says how many rows each request left;
every id that an answer returned must be there, once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.checks import check_counts, finding
from harness.config import Options
from harness.metrics import Measured
from harness.model import Cell, Finding, Trial
from harness.plan import Lane, Scenario, Site

REQUESTS = {1: 400, 10: 400, 100: 200, 1000: 40, 10_000: 8}
"""Rows a request -> requests of a trial."""
CLIENTS = 8


def cells(options: Options, site: Site) -> list[Cell]:
    """Five sizes; a quarter of the requests with --quick."""
    site.need("/api/bulk-insert", database=True)
    return [
        Cell(
            scenario="bulk-insert",
            strategy="",
            hosts=site.serving(options.hosts, 4),
            clients=min(CLIENTS, requests),
            requests=requests,
            params={"rows": rows},
        )
        for rows, count in REQUESTS.items()
        for requests in [options.requests or (max(4, count // 4) if options.quick else count)]
    ]


def workload(trial: Trial) -> dict[str, Lane]:
    """Eight clients, each sending when it was answered."""
    cell = trial.cell
    rows = [f"{{n}}-{number}" for number in range(int(cell.params["rows"]))]
    return {
        "main": {
            "mode": "closed",
            "clients": cell.clients,
            "requests": cell.requests,
            "release": "together",
            "timeout_s": 60.0,
            "operations": [
                {
                    "name": "bulk",
                    "path": "/api/bulk-insert",
                    "body": {"data": rows},
                    "value": "count",
                    "capture": ["ids"],
                }
            ],
        }
    }


def check(measured: Measured) -> Sequence[Finding]:
    """Acknowledged requests left all their rows, refused ones none; every id returned exists once."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    rows = int(cell.params["rows"])
    data = evidence.extra.get("data")
    if data is None:
        return [finding(cell, "all or nothing", "unknown", "the rows in the database were not read")]
    left = {int(n): count for n, count in data["requests"].items()}
    wrong = []
    for row, (seq, outcome) in enumerate(zip(samples.seq, samples.outcome, strict=True)):
        count = left.pop(seq, 0)
        allowed = {"ok": {rows}, "fail": {0}}.get(outcome, {0, rows})
        if count not in allowed or (outcome == "ok" and samples.value[row] != rows):
            wrong.append(f"request {seq} ({outcome}) left {count:,} of {rows:,} rows")
    wrong += [f"request {seq}, which nobody sent, left {count:,} rows" for seq, count in left.items()]
    ok = sum(1 for outcome in samples.outcome if outcome == "ok")
    seconds = measured.row.figure("seconds")
    pace = f", {ok * rows / seconds:,.0f} rows/s" if seconds else ""
    returned = [line["ids"] for line in evidence.extra.get("captures", {}).get("main", []) if "ids" in line]
    return [
        finding(
            cell,
            "all or nothing",
            "fail" if wrong else "pass" if ok else "unknown",
            wrong[0] if wrong else f"{ok:,} requests left {ok * rows:,} rows, {len(samples) - ok:,} left none{pace}",
            rows_per_s=ok * rows / seconds if seconds else None,
        ),
        _ids(cell, returned, data["ranges"], ok * rows),
        check_counts(cell, samples, evidence, op=None),
    ]


def _ids(cell: Cell, returned: Iterable[Sequence[int]], ranges: Sequence[Sequence[int]], wanted: int) -> Finding:
    counts: Counter[int] = Counter()
    for ids in returned:
        counts.update(ids)
    starts = [low for low, _ in ranges]

    def is_there(number: int) -> bool:
        at = bisect_right(starts, number) - 1
        return at >= 0 and number <= ranges[at][1]

    doubled = sum(1 for n in counts.values() if n > 1)
    absent = sum(1 for number in counts if not is_there(number))
    if doubled or absent or len(counts) != wanted:
        text = f"{len(counts):,} ids returned for {wanted:,} rows, {doubled:,} of them twice, {absent:,} not there"
        return finding(cell, "ids exist once", "fail", text)
    return finding(
        cell, "ids exist once", "pass" if wanted else "unknown", f"all {wanted:,} ids returned exist, once each"
    )


SCENARIO = Scenario(
    name="bulk-insert",
    question="How many rows a second go in, by rows a request, and is a request all or nothing?",
    criteria=(
        "+ rows a second for 1, 10, 100, 1,000 and 10,000 rows a request",
        "+ every id returned exists once",
        "+ a request that fails leaves no row",
    ),
    cells=cells,
    workload=workload,
    check=check,
    reads=("data",),
    timed=False,
    about="inserts of many rows: the rows are read back there",
)
