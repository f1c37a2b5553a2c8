"""Bulk inserts of 1 to 10,000 rows per request over 4 hosts: rows per second, and all or nothing.

Every row's text begins with its request's sequence number, so the database shows how many rows each request left.
Every id in a response must exist exactly once. A second lane sends a few requests of the same size whose last text
violates a constraint of the table, after all others are inserted: they must leave no row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.checks import names
from harness.checks.finding import finding
from harness.checks.traffic import check_counts
from harness.load.spec import LoadSpec, Operation
from harness.model import Cell, Finding, Trial, verdict_from
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site
from harness.record import Samples, TrialRecord
from harness.text import plural

REQUESTS = {1: 400, 10: 400, 100: 200, 1000: 40, 10_000: 8}
"""Rows per request -> requests per trial."""
QUICK_ROWS = (1, 100, 10_000)
CLIENTS = 8
REFUSED = 2
"""Requests per trial that the database rejects; few, because they slow down the others."""
REFUSED_FROM = 9 * 10**12
"""Offset of their sequence numbers in the texts of their rows. Sequence numbers have 12 digits."""
TOO_LONG = 65_537
"""Characters of a text that violates the table's constraint."""
CHECK_VIOLATION = "23514"
"""SQLSTATE of the violation. Only the database reports it, not the service's own validation."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans five sizes; with --quick three, and a quarter of the requests."""
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
        if not options.quick or rows in QUICK_ROWS
        for requests in [options.requests or (max(4, count // 4) if options.quick else count)]
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns eight clients of the closed model, and beside them one whose requests the database rejects."""
    cell = trial.cell
    rows = int(cell.params["rows"])

    def lane(operation: Operation, *, clients: int, requests: int | None) -> LoadSpec:
        return LoadSpec(mode="closed", clients=clients, requests=requests, timeout_s=60.0, operations=(operation,))

    good = [f"{{n}}-{number}" for number in range(rows)]
    bad = [*(f"9{{n}}-{number}" for number in range(rows - 1)), "x" * TOO_LONG]
    path = "/api/bulk-insert"
    bulk = Operation(name="bulk", path=path, body={"data": good}, value="count", capture=("ids", "duration"))
    refused = Operation(name="refused", path=path, body={"data": bad})
    return {
        "main": lane(bulk, clients=cell.clients, requests=cell.requests),
        "refused": lane(refused, clients=1, requests=REFUSED),
    }


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Acknowledged requests left all their rows and rejected ones none; every returned id exists once."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    rows = int(cell.params["rows"])
    data = evidence.bulk_rows
    if data is None:
        return [finding(cell, names.ALL_OR_NOTHING, "unknown", "the rows in the database were not read")]
    rejected = measured.lanes["refused"]
    rejected_rows = {seq: data.requests.get(REFUSED_FROM + seq, 0) for seq in rejected.seq}
    own = {seq: count for seq, count in data.requests.items() if seq - REFUSED_FROM not in rejected_rows}
    returned = [line["ids"] for line in evidence.captures.get("main", ()) if "ids" in line]
    expected = rows * samples.outcome.count("ok")
    return [
        _check_all_or_nothing(cell, samples, own, rows, measured.row.figure("seconds")),
        _check_rejected(cell, rejected, rejected_rows, rows),
        _check_ids(cell, returned, data.ranges, expected),
        check_counts(cell, samples, evidence, op=None),
    ]


def _check_all_or_nothing(
    cell: Cell, samples: Samples, stored: Mapping[int, int], rows: int, seconds: float | None
) -> Finding:
    """Each request left all its rows or none, as its outcome requires. `stored`: sequence number -> rows."""
    wrong = []
    for seq, outcome, value in zip(samples.seq, samples.outcome, samples.value, strict=True):
        count = stored.get(seq, 0)
        allowed = {"ok": {rows}, "fail": {0}}.get(outcome, {0, rows})
        if count not in allowed or (outcome == "ok" and value != rows):
            wrong.append(f"request {seq} ({outcome}) left {count:,} of {rows:,} rows")
    sent = set(samples.seq)
    wrong += [f"request {seq}, which was not sent, left {n:,} rows" for seq, n in stored.items() if seq not in sent]
    ok = samples.outcome.count("ok")
    rate = ok * rows / seconds if seconds else None
    text = f"{ok:,} requests left {ok * rows:,} rows, {len(samples) - ok:,} left none"
    if rate is not None:
        text += f", {rate:,.0f} rows/s"
    verdict = verdict_from(failed=bool(wrong), passed=ok > 0)
    return finding(cell, names.ALL_OR_NOTHING, verdict, wrong[0] if wrong else text, rows_per_s=rate)


def _check_rejected(cell: Cell, samples: Samples, stored: Mapping[int, int], rows: int) -> Finding:
    """Requests that fail in the database at their last row leave no row."""
    name = names.FAILED_REQUEST_ROWS
    results = list(zip(samples.seq, samples.outcome, samples.error, strict=True))
    for seq, outcome, error in results:
        if outcome != "ok" and stored[seq]:
            text = f"rejected request {seq} ({outcome} {error}) left {stored[seq]:,} of its {rows - 1:,} valid rows"
            return finding(cell, name, "fail", text)
    in_database = sum(outcome == "fail" and error == CHECK_VIOLATION for _, outcome, error in results)
    if in_database < len(results) or not results:
        kinds = Counter(error or outcome for _, outcome, error in results)
        counts = ", ".join(f"{number} x {kind}" for kind, number in kinds.items()) or "none was sent"
        text = f"{in_database} of {len(results)} requests with a last text that is too long failed in the database"
        return finding(cell, name, "unknown", f"{text}: {counts}")
    text = f"{in_database} requests of {plural(rows, 'row')} failed at the last text ({CHECK_VIOLATION}) and left none"
    return finding(cell, name, "pass", text, failed=in_database)


def _check_ids(cell: Cell, returned: Iterable[Sequence[int]], ranges: Sequence[Sequence[int]], rows: int) -> Finding:
    """The returned ids are as many as the acknowledged `rows`, all different, and all in the table's `ranges`."""
    counts: Counter[int] = Counter()
    for ids in returned:
        counts.update(ids)
    starts = [low for low, _ in ranges]

    def exists(number: int) -> bool:
        index = bisect_right(starts, number) - 1
        return index >= 0 and number <= ranges[index][1]

    repeated = sum(1 for count in counts.values() if count > 1)
    missing = sum(1 for number in counts if not exists(number))
    if repeated or missing or len(counts) != rows:
        text = f"{len(counts):,} ids returned for {rows:,} rows, {repeated:,} of them twice, {missing:,} missing"
        return finding(cell, names.IDS_EXIST_ONCE, "fail", text)
    verdict = verdict_from(failed=False, passed=rows > 0)
    return finding(cell, names.IDS_EXIST_ONCE, verdict, f"all {rows:,} returned ids exist, once each")


def label(cell: Cell) -> str:
    """Names a cell, such as `100 rows per request`."""
    rows = cell.params.get("rows")
    return f"{plural(rows, 'row')} per request" if isinstance(rows, int) else ""


SCENARIO = Scenario(
    name="bulk-insert",
    question="How many rows per second are inserted, by rows per request, and is each request all or nothing?",
    criteria=(
        "rows per second with 1, 10, 100, 1,000 and 10,000 rows per request (reported only)",
        "every returned id exists exactly once",
        "a request that fails in the database leaves no row",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    reads=("data",),
    timing_matters=False,
    postgres_topic="multi-row inserts, whose rows are read back",
)
