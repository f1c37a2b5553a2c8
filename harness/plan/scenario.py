"""The contract between a scenario and the harness: what a scenario is asked, and what it answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.load.spec import LoadSpec
from harness.model import BACKEND_NAMES, Backend, Cell, Finding, Role, Trial
from harness.plan.options import BenchRequest
from harness.record import TrialRecord
from harness.text import plural


class Skip(Exception):
    """Raised by a scenario's `cells` where it cannot run on this site; the text is the reason, shown to users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What there is to measure: app hosts, load hosts, backends, and what can be reached besides HTTP."""

    hosts: int
    workers: int = 1
    """Processes of the service on each app host; they share the host's pool out."""
    load_hosts: int = 1
    backends: tuple[Backend, ...] = ("postgres",)
    no_sqlite: str = ""
    """On a rig that does not offer SQLite: why not."""
    database: bool = True
    managed: bool = True
    """True where we may reconfigure, drain and restart the app hosts. Else strategy and pool are as they are."""
    absent: tuple[str, ...] = ()
    """What the service lacks of the contract's endpoints."""
    connections: int = 100
    """The server's max_connections."""
    reserved: int = 10
    """Connections kept for the oracle, telemetry, drivers and the superuser."""

    def serving(self, asked: int | None, usual: int) -> int:
        """How many app hosts serve: as many as were asked for, else the usual number, if there are so many."""
        return min(asked or usual, self.hosts)

    def need(self, *endpoints: str, database: bool = False) -> None:
        """Raises Skip where the service lacks one of these, or the database itself cannot be reached."""
        if database and not self.database:
            raise Skip("needs the database itself (--dsn, or a rig)")
        if missing := [name for name in endpoints if name in self.absent]:
            raise Skip(f"the service does not offer {' and '.join(missing)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWorkload:
    """A workload that is not HTTP: `python -m <module>` on a host of `role`, a JSON job in, a JSON result out.

    It has tables or a file of its own and asks nothing of the service, which is therefore left as it is, unless it
    keeps connections to the database open that the driver may need.
    """

    role: Role
    module: str
    job: Mapping[str, Any]


Workload = Mapping[str, LoadSpec] | RemoteWorkload
"""Lanes that run side by side, by name (the figures of the first are the trial's), or a workload that is not HTTP."""


def _no_judgement(_: Sequence[TrialRecord]) -> list[Finding]:
    return []


def default_label(cell: Cell) -> str:
    """Returns backend, strategy and number of hosts, such as `PostgreSQL, upsert, 2 hosts`."""
    return joined(backend_name(cell), cell.strategy, plural(cell.hosts, "host"))


def backend_name(cell: Cell) -> str:
    """Returns the backend's name for readers, such as `naive SQLite`."""
    return BACKEND_NAMES.get(cell.backend, cell.backend)


def joined(*words: str) -> str:
    """Joins the parts of a label with commas and drops empty ones."""
    return ", ".join(word for word in words if word.strip("'-"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question, a workload, and the checks that answer it.

    `criteria`: what the scenario checks and reports, in words, for `./run scenarios` and the report.
    `check` judges one trial, `judge` the scenario's trials together (ratios between cells, tables).
    """

    name: str
    question: str
    criteria: tuple[str, ...]
    cells: Callable[[BenchRequest, Site], Sequence[Cell]]
    workload: Callable[[Trial], Workload]
    check: Callable[[TrialRecord], Sequence[Finding]]
    label: Callable[[Cell], str] = default_label
    """Names a cell for readers, in words that tell the scenario's cells apart. Accepts a cell of any stored run."""
    exceeds_connections: Callable[[Cell], bool] = lambda _: False
    """Whether the cell's pools may exceed the server's connections, because the scenario measures that."""
    judge: Callable[[Sequence[TrialRecord]], Sequence[Finding]] = _no_judgement
    background: str = ""
    """What a reader must know to make something of the answer; the report says it below."""
    extract: Callable[[TrialRecord], Mapping[str, float]] = lambda _: {}
    """What `judge` needs of a trial's samples beyond its figures: the samples are dropped before it is called."""
    reads: tuple[str, ...] = ()
    """What to read besides the counters after a trial: `ledger`, `data`, `deadlocks`, `dead-rows`."""
    timing_matters: bool = True
    """False where no claim rests on time: a generator that was held up is then noted, not held against a trial."""
    postgres_topic: str = ""
    """What of PostgreSQL's it asks about, where it asks of PostgreSQL alone: why `--backend sqlite-…` skips it."""
    repeat: Callable[[Cell], int] = lambda _: 1
    """Trials of a cell where `--repeat` is not given: CLAIM_TRIALS where a criterion rests on how the times of cells
    compare, one where it rests on counts or where times are shown and judged by nobody. `--quick` always makes one."""
    works_without_samples: bool = False
    """Whether its checks can do with how the requests of each key ended: long trials then keep no samples."""
    rehearse: bool = False
    """Whether each trial sends its load once before, unmeasured: connections open, statements known."""

    @property
    def judges_together(self) -> bool:
        """Whether a finding may be about several cells: it names one of them then, which need not be the wrong one."""
        return self.judge is not _no_judgement
