"""The records of one trial: its samples, its figures, and the evidence of the layers behind the client. Pure."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from typing import Any, Literal

from harness.fault_record import FaultRecord, LogLine
from harness.model import Cell, OutcomeCounts, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """A samples file as columns of equal length, named as in the file. A million rows take about 150 MB."""

    seq: array[int]
    op: list[str]
    key: list[str]
    host: list[str]
    due_us: array[int]
    sent_us: array[int]
    done_us: array[int]
    outcome: list[str]
    status: array[int]
    value: list[int | None]
    error: list[str]
    id: list[str]
    load_host: list[str]
    phase: list[str]
    captured: Mapping[str, array[float]]
    """The columns `c_<name>` by name; NaN where a response had none."""

    def __len__(self) -> int:
        return len(self.seq)


_SAMPLE_COLUMNS = tuple(one.name for one in fields(Samples) if one.name != "captured")

Pragmas = Mapping[str, str | int | float | None]
"""SQLite's pragmas by name, as a worker of the service reads them back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteEvidence:
    """The state of the shared SQLite file after a trial, and the pragmas in force while it ran."""

    integrity_check: tuple[str, ...] = ()
    """Lines of `PRAGMA integrity_check`: `ok` alone where the file is intact; empty where it was not run."""
    pragmas: Pragmas = field(default_factory=dict)
    """Those of the first app worker; empty where they were not read."""
    differing: Mapping[str, Pragmas] = field(default_factory=dict)
    """App worker -> its pragmas, where they are not the first one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionCounts:
    """Transactions that the app workers began during a trial, and transaction ids that PostgreSQL assigned."""

    app: int
    database: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlockCounts:
    """Deadlocks during a trial by pg_stat_database, and by the server's log (None: the log was not read)."""

    statistics: int
    log: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadRows:
    """Dead row versions of `counters` as VACUUM VERBOSE reports them.

    `removed`: by all its runs. `not_removable`: still needed by a transaction after the load. `kept`: the most that
    could not be removed while the load ran (None: no run reported a number).
    """

    removed: int
    not_removable: int
    kept: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkRows:
    """Rows that bulk inserts left in the table `data`.

    `requests`: sequence number of the request -> its rows. `ranges`: first and last id of each run of ids without gap.
    """

    requests: Mapping[int, int]
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWaits:
    """What the database's sessions waited for while a trial ran; `tick_us`: all instants at which they were sampled.

    `at_us`, `pid`, `wait`: one entry per sample and session that was not idle, on the clock of the trial's samples.
    `wait`: `on CPU`, `idle in transaction`, PostgreSQL's `type:event`, or `blocks:` and a session that others wait for.
    """

    tick_us: array[int]
    at_us: array[int]
    pid: array[int]
    wait: list[str]


Captures = Mapping[str, Sequence[Mapping[str, Any]]]
"""Lane -> fields of its responses that are not numbers: one JSON object per request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the layers behind the client recorded of one trial; with the samples, all that a check needs.

    `initial` and `final`: counter values by key, read from the database itself before and after.
    `ledger`: Idempotency-Key -> (key, value), or None where the trial sent none.
    `counts`: requests seen by each layer during the trial: `client`, `haproxy`, `app` (absent: not measured,
    and `notes` says why). `servers`: HAProxy's count for each app host.
    `not_applicable`: check -> why it cannot be answered on this target; the check is then left out, not passed.
    `sqlite` to `durability`: None where the scenario does not ask for them, or they could not be read.
    `captures`: lane -> fields of its responses that are not numbers, one object per request. `workload_result`: the
    JSON object that a RemoteWorkload printed. `missing_hosts`: the load hosts without results, and why.
    `unread`: part of harness/checks/required_evidence.py -> why it was not measured; no check may use its fields.
    `misrouted`: sentences about requests that went to other hosts than the cell says, or had other settings.
    `settings`: the settings that variants change, as read back, by key.
    `faults`: what became of the planned faults. `logs`: what the rig logged meanwhile, where a fault was planned.
    """

    initial: Mapping[str, int] = field(default_factory=dict)
    final: Mapping[str, int] = field(default_factory=dict)
    ledger: Mapping[str, tuple[str, int]] | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    servers: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sqlite: SqliteEvidence | None = None
    transactions: TransactionCounts | None = None
    deadlocks: DeadlockCounts | None = None
    dead_rows: DeadRows | None = None
    bulk_rows: BulkRows | None = None
    durability: Mapping[str, str] | None = None
    captures: Captures = field(default_factory=dict)
    workload_result: Mapping[str, object] | None = None
    missing_hosts: tuple[str, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    misrouted: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[FaultRecord, ...] = ()
    logs: tuple[LogLine, ...] = ()


NO_EVIDENCE = Evidence()

Validity = Literal["valid", "timing_doubtful", "generator_bound", "broken"]
"""What a trial may be used for.

`valid`: everything. `timing_doubtful`: its outcomes; the load generator may have been the limit, or other programs
used the machines, and no criterion depends on times. `generator_bound`: nothing, for the same reason; only such a trial
may be measured once more. `broken`: nothing; it was interrupted, or its results are missing or inconsistent.
"""


def count_outcomes(requests: Samples | OutcomeCounts) -> OutcomeCounts:
    """The outcomes of the requests per key: from the samples, or as counted where none were kept."""
    if isinstance(requests, Counter):
        return requests
    return Counter(zip(requests.op, requests.key, requests.outcome, strict=True))


NO_OTHERS: OutcomeCounts = Counter()
"""No increments by requests of other lanes."""


def distinct(samples: Samples) -> Samples:
    """The requests with those of one Idempotency-Key joined: together they are applied at most once.

    A joined request was sent when the first of them was. It is `ok` from the earliest acknowledgement on, else
    `unknown` if any of them is. Returns `samples` itself where no id repeats.
    """
    rows_of: dict[str, list[int]] = {}
    for row, ident in enumerate(samples.id) if any(samples.id) else ():
        if ident:
            rows_of.setdefault(ident, []).append(row)
    repeated = [rows for rows in rows_of.values() if len(rows) > 1]
    if not repeated:
        return samples
    dropped: set[int] = set()
    sent_us = array("q", samples.sent_us)
    for rows in repeated:
        kept = min(rows, key=lambda row: (_CERTAIN.index(samples.outcome[row]), samples.done_us[row]))
        sent_us[kept] = min(samples.sent_us[row] for row in rows)
        dropped.update(row for row in rows if row != kept)
    joined = replace(samples, sent_us=sent_us)
    keep = [row not in dropped for row in range(len(samples))]
    return replace(
        joined,
        **{name: _where(getattr(joined, name), keep) for name in _SAMPLE_COLUMNS},
        captured={name: _where(values, keep) for name, values in joined.captured.items()},
    )


_CERTAIN = ("ok", "unknown", "fail")  # of several requests with one id, the first that occurs holds


def _where(column: Any, keep: Sequence[bool]) -> Any:
    chosen = compress(column, keep)
    return array(column.typecode, chosen) if isinstance(column, array) else list(chosen)


def increments(requests: Samples | OutcomeCounts, op: str, others: OutcomeCounts = NO_OTHERS) -> OutcomeCounts:
    """The outcomes per key of the operation `op` of `requests`, each id once, and of all `others`."""
    own = count_outcomes(requests if isinstance(requests, Counter) else distinct(requests))
    return Counter({each: number for each, number in own.items() if each[0] == op}) + others


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """A trial's figures by column name of trials.csv (None: not measured, or too few samples to carry it)."""

    trial: Trial
    validity: Validity = "valid"
    reasons: tuple[str, ...] = ()
    """Why the trial, or its times, may not be used; empty where `validity` is `valid`."""
    steady: bool | None = None
    """Whether the warm-up ended in a steady state that lasted through the measured phase; None without a warm-up.

    A trial that did not is still valid: a few seconds of noise look the same, and its counts are correct. Warnings
    name its cell (`unsteady`), and no claim about time uses a cell that has such trials only (`never_steady`).
    """
    figures: Mapping[str, float | None]

    @property
    def cell(self) -> Cell:
        """The cell it repeats."""
        return self.trial.cell

    @property
    def valid(self) -> bool:
        """Whether its outcomes may be used."""
        return self.validity in ("valid", "timing_doubtful")

    @property
    def times_valid(self) -> bool:
        """Whether its times may be used too."""
        return self.validity == "valid"

    @property
    def reason(self) -> str:
        """The reasons as one sentence."""
        return "; ".join(self.reasons)

    def figure(self, name: str) -> float | None:
        """One figure, None where it is absent."""
        return self.figures.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """The input of the checks: a trial's row, the samples of each lane, and the layers' evidence.

    `outcome_counts`: the outcomes per key of the lanes whose samples were not kept.
    """

    row: TrialResult
    lanes: Mapping[str, Samples]
    evidence: Evidence
    held_back: str = ""
    """What was saturated while the load ran, as a sentence (harness/analysis/bottleneck.py)."""
    saturated: tuple[str, ...] | None = None
    """The saturated parts by name; None where they are not known."""
    outcome_counts: Mapping[str, OutcomeCounts] = field(default_factory=dict)
    clock_shared: bool = False
    """Whether the load hosts have one clock, so that their times can be compared."""
    own_cores: bool = False
    """Whether each app host is known to have its own processors."""
    waits: SessionWaits | None = None
    """What the database's sessions waited for; None where that was not sampled."""
    extracted: Mapping[str, float] = field(default_factory=dict)
    """Where trials are compared: figures that the scenario took from the samples (Scenario.extract)."""

    @property
    def cell(self) -> Cell:
        """The cell measured."""
        return self.row.cell

    @property
    def main(self) -> Samples:
        """The samples of the lane named `main`."""
        return self.lanes["main"]

    @property
    def requests(self) -> Samples | OutcomeCounts:
        """The samples of the lane named `main`, or its outcome counts where none were kept."""
        return self.main if "main" in self.lanes else self.outcome_counts["main"]
