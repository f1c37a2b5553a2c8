"""The contract between a scenario and the harness: the functions and flags that define a scenario. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.fault_record import PlannedFault
from harness.load.spec import LoadSpec
from harness.model import BACKEND_NAMES, Backend, Cell, Finding, Role, Trial
from harness.plan.options import BenchRequest
from harness.record import TrialRecord, TrialResult
from harness.text import plural


class Skip(Exception):
    """Raised by a scenario's `cells` when it cannot run on this site; the text is the reason that users see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a target offers to a plan: app hosts, load hosts, backends, and access besides HTTP."""

    hosts: int
    workers: int = 1
    """Processes of the service on each app host; each has a share of the host's pool."""
    load_hosts: int = 1
    backends: tuple[Backend, ...] = ("postgres",)
    no_sqlite: str = ""
    """Why the target does not offer SQLite; empty if it does."""
    database: bool = True
    """Whether the database itself can be read."""
    managed: bool = True
    """Whether the harness may reconfigure, drain and restart the app hosts. Else strategy and pool stay as they are."""
    absent: tuple[str, ...] = ()
    """Endpoints of the contract that the service lacks."""
    connections: int = 100
    """The server's max_connections."""
    reserved: int = 10
    """Connections kept for the oracle, telemetry, remote workloads and the superuser."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Fault (harness/plan/fault_schedule.py) -> why it cannot be injected here, empty if it can; no entries: no faults
    can be."""

    def serving(self, asked: int | None, usual: int) -> int:
        """The number of app hosts that serve: `asked`, else `usual`, at most all hosts."""
        return min(asked or usual, self.hosts)

    def need(self, *endpoints: str, database: bool = False) -> None:
        """Raises Skip if the service lacks one of the endpoints, or the database itself cannot be read."""
        if database and not self.database:
            raise Skip("needs the database itself (--dsn, or a rig)")
        if missing := [name for name in endpoints if name in self.absent]:
            raise Skip(f"the service does not offer {' and '.join(missing)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWorkload:
    """A workload that is not HTTP: `python -m <module>` on a host of `role`, with a JSON job in and a JSON result out.

    It uses its own tables or file and sends nothing to the service. The service is not reconfigured for it, except
    that it closes its database connections where the workload may need them.
    """

    role: Role
    module: str
    job: Mapping[str, Any]


Workload = Mapping[str, LoadSpec] | RemoteWorkload
"""Lanes by name, which run at the same time (the first gives the trial's figures), or a workload that is not HTTP."""


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
    `check` evaluates one trial, `judge` all trials of the scenario together (ratios between cells, tables).
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
    """What a reader needs to know to understand the answer; the report prints it below the answer."""
    extract: Callable[[TrialRecord], Mapping[str, float]] = lambda _: {}
    """Numbers from a trial's samples that `judge` needs; the samples are dropped before `judge` is called."""
    reads: tuple[str, ...] = ()
    """What to read after a trial besides the counters: `ledger`, `data`, `deadlocks`, `dead-rows`."""
    timing_matters: bool = True
    """Whether a criterion is about times. If not, a trial stays valid when the load generator was the limit."""
    postgres_topic: str = ""
    """The topic of a scenario that is about PostgreSQL only: the reason that `--backend sqlite-…` skips it."""
    repeat: Callable[[Cell], int] = lambda _: 1
    """Trials per cell without `--repeat`: INTERVAL_BLOCKS if a criterion compares the times of cells; one if criteria
    are about counts, or times are only reported. `--quick` always measures one."""
    works_without_samples: bool = False
    """Whether its checks work with outcome counts per key alone; long trials then keep no samples."""
    rehearse: bool = False
    """Whether each trial sends its load once before it is measured, to open connections and prepare statements."""
    next_cells: Callable[[Sequence[TrialResult]], Sequence[Cell]] | None = None
    """For a search: the cells to measure next, from all its results in their order; none when the search has ended.

    A pure function, so an interrupted run goes on as it would have. It repeats trials that do not count itself.
    """
    most_trials: Callable[[Cell], int] = lambda _: 1
    """With `next_cells`: the most trials that follow from a planned cell, itself included."""
    faults: Callable[[Cell], Sequence[PlannedFault]] = lambda _: ()
    """The faults that are injected while a trial of the cell runs."""
    left_out: Callable[[BenchRequest, Site], dict[str, str]] = lambda *_: {}
    """What its cells leave out on this site, such as `db-full of faults`, each with the reason."""
    in_suite: bool = True
    """Whether a bench without `--scenario` measures it."""

    @property
    def judges_together(self) -> bool:
        """Whether a finding may be about several cells. It names one of them, which is not always the wrong one."""
        return self.judge is not _no_judgement
