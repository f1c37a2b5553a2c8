"""The terms of the project as data: what is planned, what is measured, what the checks report.

Frozen, keyword-only, standard library only, so that the controller and the load hosts share them.
Units are last in a name: `_us` microseconds, `_ms` milliseconds, `_s` or `seconds` seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Role = Literal["db", "app", "lb", "load"]
ROLES: tuple[Role, ...] = ("db", "app", "lb", "load")

Outcome = Literal["ok", "fail", "unknown"]
"""`ok`: acknowledged. `fail`: certainly not applied. `unknown`: may or may not have been applied."""

OutcomeCounts = Counter[tuple[str, str, str]]
"""(operation, key, outcome) -> number of requests, kept for lanes whose samples are not."""

Verdict = Literal["pass", "fail", "unknown", "shown"]
"""`shown`: a figure that is reported and cannot fail. It decides nothing and is not counted as a check."""
VERDICTS: tuple[Verdict, ...] = ("fail", "unknown", "pass", "shown")
"""Worst first: merging takes the first that occurs."""
RunVerdict = Literal["pass", "fail", "unknown", "invalid"]
Mode = Literal["closed", "open"]
WritingStrategy = Literal["for-update", "upsert", "coalesce"]
"""Every transaction locks or writes a row; those of the other strategies also read in separate transactions."""
Strategy = Literal[WritingStrategy, "optimistic", "serializable", "unsafe"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
"""In the order of tables; tests/repo/test_docs.py compares them with those of app/ and of the documentation."""
ALWAYS_WRITE: tuple[WritingStrategy, ...] = get_args(WritingStrategy)
Backend = Literal["postgres", "sqlite-naive", "sqlite-tuned"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
BACKEND_NAMES: Mapping[str, str] = {
    "postgres": "PostgreSQL",
    "sqlite-naive": "naive SQLite",
    "sqlite-tuned": "tuned SQLite",
}


def verdict_from(*, failed: bool, passed: bool) -> Verdict:
    """Returns `fail` if a fault was found, else `pass` if enough was measured, else `unknown`."""
    if failed:
        return "fail"
    return "pass" if passed else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One machine of a rig, reached over SSH at `ssh_address:ssh_port`, by its peers at `address`."""

    name: str
    role: Role
    address: str
    ssh_address: str
    ssh_port: int = 22
    ssh_user: str = "root"
    jump: str = ""
    """`user@host[:port]` of a bastion, or a command whose stdin and stdout connect to the host, or empty."""
    ssh_key: str = ""
    """Path of the private key where the inventory names one; else the rig's, or the user's own."""
    known_hosts: str = ""
    """Path of the recorded host keys where the inventory names one; else the rig's, or the user's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination that is measured.

    `params` is the stored form of the scenario's own parameters (rows, hold_ms, keys …), of settings of the app hosts,
    named `app_…`, and of its variant (`variant`, `varied`, `postgres_…`). Code outside the scenarios reads it through
    the properties below and harness/plan/variants.py.
    """

    scenario: str
    backend: Backend = "postgres"
    strategy: str = "upsert"
    hosts: int = 1
    pool: int = 5
    """Connections of an app host's pool; 0 if unknown."""
    mode: Mode = "closed"
    clients: int = 1
    rate: float | None = None
    requests: int | None = None
    seconds: float | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short and unique within a run: used in findings, file names and report rows.

        The name of its variant is not in it, because the variant's settings are: the same cell has the same name in
        every run.
        """
        parts = [self.scenario, self.backend, self.strategy, f"h{self.hosts}", f"p{self.pool}" if self.pool else ""]
        if self.mode == "closed":
            parts.append(f"c{self.clients}")
        else:
            parts.append("open" if self.rate_share is not None else f"r{self.rate:g}")
        parts += [f"{k}={v}" for k, v in sorted(self.params.items()) if k not in ("variant", "varied")]
        return ".".join(part for part in parts if part)

    @property
    def variant(self) -> str:
        """Name of the variant that the cell belongs to (harness/plan/variants.py); empty without variants."""
        return str(self.params.get("variant", ""))

    @property
    def postgres_settings(self) -> Mapping[str, str]:
        """Settings of the PostgreSQL server that the cell changes, by name (`postgres_…`)."""
        prefix = "postgres_"
        return {name.removeprefix(prefix): str(value) for name, value in self.params.items() if name.startswith(prefix)}

    @property
    def code(self) -> str:
        """Revision of the service on the app hosts (harness/provision/revision.py); empty: as provisioned."""
        return str(self.params.get("code", ""))

    @property
    def rate_share(self) -> float | None:
        """Open model: the rate as a share of what a closed cell reached (harness/plan/load_share.py); None: fixed."""
        share = self.params.get("rate_share")
        return None if share is None else float(share)

    @property
    def omits_stalls(self) -> bool:
        """Whether latencies omit stalls (coordinated omission): clients that wait send nothing (closed model).

        Not where each client sends one request.
        """
        return self.mode == "closed" and (self.requests is None or self.requests > self.clients)

    @property
    def cpus_per_host(self) -> float | None:
        """CPU cap of each app host in cores (`app_cpus`); None: as provisioned."""
        cpus = self.params.get("app_cpus")
        return None if cpus is None else float(cpus)

    @property
    def pool_min(self) -> int | None:
        """Connections that each app host opens at its start (`app_pool_min`); None: the service's default."""
        connections = self.params.get("app_pool_min")
        return None if connections is None else int(connections)

    @property
    def app_settings(self) -> Mapping[str, str]:
        """The other settings of the service (app/settings.py) by environment variable, without the pool's sizes."""
        return {
            name.removeprefix("app_").upper(): str(value)
            for name, value in self.params.items()
            if name.startswith("app_") and name not in ("app_cpus", "app_pool_min")
        }

    def with_pool(self, pool: int, pool_min: int | None) -> Cell:
        """Returns the cell with another pool size and, unless None, another `pool_min`."""
        smallest = {} if pool_min is None else {"app_pool_min": pool_min}
        return replace(self, pool=pool, params={**self.params, **smallest})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One repetition of a cell; `number` counts from 1 within the cell, `order` over the whole run."""

    cell: Cell
    number: int
    order: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a check. `detail` is one sentence with the figures; `numbers` the figures for programs."""

    scenario: str
    cell: str
    check: str
    verdict: Verdict
    detail: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


MAX_HOSTS = 64
