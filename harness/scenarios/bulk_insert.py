"""Bulk inserts of 1 to 10,000 rows a request over 4 hosts: rows a second, and all or nothing.

Every row's text begins with its request's number, so the database itself says how many rows each request left;
every id that an answer returned must be there, once. A second lane sends a few requests of the same size whose last
text the table refuses, when all before it are in: they must leave nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.checks.finding import finding
from harness.checks.traffic import check_counts
from harness.load.spec import LoadSpec, Operation
from harness.model import Cell, Finding, Trial
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site
from harness.record import Samples, TrialRecord

REQUESTS = {1: 400, 10: 400, 100: 200, 1000: 40, 10_000: 8}
"""Rows a request -> requests of a trial."""
CLIENTS = 8
REFUSED = 2
"""Requests of a trial that the database refuses: few, because they take their time beside the others."""
REFUSED_FROM = 9 * 10**12
"""Added to the numbers of these, so that their rows are told from the others' (whose numbers have 12 digits)."""
TOO_LONG = 65_537
"""Characters of a text that the table `data` refuses."""
CHECK_VIOLATION = "23514"
"""The SQLSTATE of its refusal: it comes from the database alone, no validation of the service's answers so."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
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


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Eight clients, each sending when it was answered; beside them one whose requests the database refuses."""
    cell = trial.cell
    rows = int(cell.params["rows"])

    def lane(operation: Operation, *, clients: int, requests: int | None) -> LoadSpec:
        return LoadSpec(mode="closed", clients=clients, requests=requests, timeout_s=60.0, operations=(operation,))

    good = [f"{{n}}-{number}" for number in range(rows)]
    bad = [*(f"9{{n}}-{number}" for number in range(rows - 1)), "x" * TOO_LONG]
    path = "/api/bulk-insert"
    bulk = Operation(name="bulk", path=path, body={"data": good}, value="count", capture=("ids",))
    refused = Operation(name="refused", path=path, body={"data": bad})
    return {
        "main": lane(bulk, clients=cell.clients, requests=cell.requests),
        "refused": lane(refused, clients=1, requests=REFUSED),
    }


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Acknowledged requests left all their rows, refused ones none; every id returned exists once."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    rows = int(cell.params["rows"])
    data = evidence.bulk_rows
    if data is None:
        return [finding(cell, "all or nothing", "unknown", "the rows in the database were not read")]
    left = dict(data.requests)
    refused = _refused(cell, measured.lanes["refused"], left, rows)
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
    returned = [line["ids"] for line in evidence.captures.get("main", ()) if "ids" in line]
    return [
        finding(
            cell,
            "all or nothing",
            "fail" if wrong else "pass" if ok else "unknown",
            wrong[0] if wrong else f"{ok:,} requests left {ok * rows:,} rows, {len(samples) - ok:,} left none{pace}",
            rows_per_s=ok * rows / seconds if seconds else None,
        ),
        refused,
        _ids(cell, returned, data.ranges, ok * rows),
        check_counts(cell, samples, evidence, op=None),
    ]


def _refused(cell: Cell, samples: Samples, left: dict[int, int], rows: int) -> Finding:
    """What the database refused in the middle of a request left no row; takes these requests out of `left`."""
    name = "a failed request leaves no row"
    counts = [left.pop(REFUSED_FROM + seq, 0) for seq in samples.seq]
    answers = list(zip(samples.seq, samples.outcome, samples.error, counts, strict=True))
    inside = sum(1 for _, outcome, error, _ in answers if outcome == "fail" and error == CHECK_VIOLATION)
    wrong = [answer for answer in answers if answer[1] != "ok" and answer[3]]
    if wrong:
        seq, outcome, error, count = wrong[0]
        text = f"refused request {seq} ({outcome} {error}) left {count:,} of its {rows - 1:,} rows before the bad one"
        return finding(cell, name, "fail", text)
    said = (
        ", ".join(f"{n} x {kind}" for kind, n in Counter(e or o for _, o, e, _ in answers).items()) or "none was sent"
    )
    if inside < len(answers) or not answers:
        text = f"{inside} of {len(answers)} requests whose last text is too long failed in the database: {said}"
        return finding(cell, name, "unknown", text)
    size = f"{rows:,} row{'s' * (rows > 1)}"
    text = f"{inside} requests of {size} failed at their last text ({CHECK_VIOLATION}) and left none"
    return finding(cell, name, "pass", text, failed=inside)


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


def label(cell: Cell) -> str:
    """Names a cell, such as `100 rows per request`."""
    rows = cell.params.get("rows")
    return f"{rows:,} row{'s' * (rows != 1)} per request" if isinstance(rows, int) else ""


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
    postgres_topic="inserts of many rows: the rows are read back there",
)
