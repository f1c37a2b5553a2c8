"""The tier on app hosts made of paper: what it asks of them around the trials of a whole plan."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import RigError, UsageError
from harness.model import BACKENDS, Cell, Host
from harness.plan.options import BenchRequest
from harness.plan.planner import make_plan
from harness.plan.scenario import RemoteWorkload, Site
from harness.rig.connection import Result
from harness.rig.rig import Rig
from harness.scenarios import SCENARIOS
from harness.targets.layer_counts import LayerCounters
from harness.targets.rig_target import RigTarget
from tests.support.builders import rig_state

SHARED = "/srv/shared"
JOURNALS = {"sqlite-naive": "delete", "sqlite-tuned": "wal"}


class Paper:
    """App hosts that know SQLite's rule: a file whose journal mode would change must be open nowhere else."""

    def __init__(self, hosts: int) -> None:
        apps = [Host(name=f"app-{n}", role="app", address="", ssh_address="") for n in range(1, hosts + 1)]
        others = [Host(name=f"{role}-1", role=role, address="", ssh_address="") for role in ("db", "lb", "load")]
        self.hosts = tuple(apps + others)
        self.runs: dict[str, Mapping[str, str]] = {host.name: {"BACKEND": "postgres"} for host in apps}
        self.journals: dict[str, str] = {}
        self.restarts = 0
        self.kinds = {host.name: "ext4" for host in apps}
        self.kernels = {host.name: "one" for host in apps}
        self.directories = {host.name: 1 for host in apps}
        self.tokens: set[tuple[int, str]] = set()
        self.removed: list[str] = []

    def remove(self, path: str) -> None:
        """Beneath a connection that has it open, a file gets corrupted."""
        holders = [host for host, runs in self.runs.items() if runs.get("SQLITE_PATH") == path]
        assert not holders, f"{path} is open on {holders}"
        self.journals.pop(path, None)
        self.removed.append(path)

    def probe(self, name: str, directory: str, token: str, wish: str) -> Mapping[str, Any]:
        """As harness/host_scripts/shared_directory.py answers."""
        assert directory == SHARED
        left = (self.directories[name], token)
        if wish == "leave":
            self.tokens.add(left)
        seen = left in self.tokens
        if wish == "remove":
            self.tokens.remove(left)
        return {"type": self.kinds[name], "kernel": self.kernels[name], "seen": seen}

    def restart(self, name: str, text: str) -> None:
        """The host's service, with what its file of overrides says."""
        self.restarts += 1
        settings = {"BACKEND": "postgres"} | dict(line.split("=", 1) for line in text.split())
        self.runs[name] = {}
        if (backend := settings["BACKEND"]) in JOURNALS:
            path = settings.get("SQLITE_PATH", f"{SHARED}/crucible.db")
            others = [host for host, runs in self.runs.items() if runs.get("SQLITE_PATH") == path]
            wanted = JOURNALS[backend]
            assert not others or self.journals[path] == wanted, f"{name}: database is locked: {others} hold {path} open"
            self.journals[path] = wanted
            settings["SQLITE_PATH"] = path
        self.runs[name] = settings


class Station:
    def __init__(self, name: str, paper: Paper) -> None:
        self.name, self._paper = name, paper

    def run(self, command: Sequence[str], *, stdin: str = "", **_: Any) -> Result:
        if command[0] == "sh":
            self._paper.restart(self.name, stdin)
            return Result(code=0, stdout="", stderr="")
        if command[0] == "rm":
            self._paper.remove(command[2])
            return Result(code=0, stdout="", stderr="")
        *_, directory, token, wish = command
        return Result(code=0, stdout=json.dumps(self._paper.probe(self.name, directory, token, wish)), stderr="")


@contextlib.contextmanager
def tier_on(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> Iterator[RigTarget]:
    """A Tier on those hosts, as if nothing had been changed on them yet."""
    rig = Rig(
        state=rig_state(
            paper.hosts, variables={"app_sqlite_directory": SHARED, "common_settings_directory": ""}
        ),
        key=None, known_hosts=None, secrets={},
    )  # fmt: skip
    at: Callable[[Any], Station] = lambda host: Station(getattr(host, "name", host), paper)  # noqa: E731
    monkeypatch.setattr(rig, "at", at)
    tier = RigTarget(rig)
    layers = SimpleNamespace(workers=1, as_service=(), answering=contextlib.nullcontext, one=lambda sql: (100,))
    tier.layers = layers  # type: ignore[assignment]
    monkeypatch.setattr(tier, "_until", lambda what, holds: None)
    monkeypatch.setattr(tier, "_drain", lambda active: setattr(tier, "_active", active))
    yield tier


@pytest.mark.parametrize("quick", [True, False])
def test_no_order_of_the_trials_makes_two_set_ups_fight_for_a_file(
    monkeypatch: pytest.MonkeyPatch, *, quick: bool
) -> None:
    """A file's journal mode is kept in the file, and drained hosts keep it open."""
    switched = 0
    for hosts in (2, 4, 8):
        site = Site(hosts=hosts, backends=BACKENDS)
        for seed in range(1, 21):
            options = BenchRequest.parse({"quick": quick, "seed": str(seed)}, known_scenarios=SCENARIOS)
            paper = Paper(hosts)
            with tier_on(paper, monkeypatch) as tier:
                for trial in make_plan(options, site, SCENARIOS).trials:
                    if not isinstance(SCENARIOS[trial.cell.scenario].workload(trial), RemoteWorkload):
                        tier.configure(trial.cell)
                        for host in paper.hosts[: trial.cell.hosts]:
                            assert paper.runs[host.name]["BACKEND"] == trial.cell.backend
                assert {f"{SHARED}/sqlite-naive.db", f"{SHARED}/sqlite-tuned.db"} == set(paper.removed)
            switched += paper.restarts
    assert switched


@pytest.mark.parametrize("hosts", [1, 4])
def test_sqlite_is_offered_where_one_kernel_shares_one_directory(monkeypatch: pytest.MonkeyPatch, hosts: int) -> None:
    paper = Paper(hosts)
    with tier_on(paper, monkeypatch) as tier:
        assert (tier.site().backends, tier.site().no_sqlite) == (BACKENDS, "")
    assert paper.tokens == set()


@pytest.mark.parametrize(
    ("what", "other", "reason"),
    [
        ("kinds", "nfs4", "is on nfs4 on app-3: SQLite's locks do not hold"),
        ("directories", 2, "app-3 does not see what app-1 writes to"),
        ("kernels", "another", "run on 2 kernels"),
    ],
)
def test_where_it_would_not_be_sqlite_that_is_measured_it_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, what: str, other: object, reason: str
) -> None:
    """A directory of each host's own would give as many databases, and look like lost updates."""
    paper = Paper(4)
    getattr(paper, what)["app-3"] = other
    with tier_on(paper, monkeypatch) as tier:
        site = tier.site()
    assert (site.backends, paper.tokens) == (("postgres",), set())
    assert reason in site.no_sqlite
    plan = make_plan(BenchRequest.parse({}, known_scenarios=SCENARIOS), site, SCENARIOS)
    assert plan.skipped == dict.fromkeys(
        (
            "sqlite-vs-postgres",
            "concurrent-writes on sqlite-naive and sqlite-tuned",
            "isolation on sqlite-naive and sqlite-tuned",
        ),
        site.no_sqlite,
    )
    asked = BenchRequest.parse({"scenario": "isolation", "backend": "sqlite-naive"}, known_scenarios=SCENARIOS)
    with pytest.raises(UsageError, match="nothing to measure: isolation: no sqlite-naive here") as error:
        make_plan(asked, site, SCENARIOS)
    assert reason in error.value.message


def test_a_damaged_file_is_made_anew_when_nobody_holds_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    paper = Paper(4)
    cell = Cell(scenario="s", backend="sqlite-tuned", hosts=2)
    answers = iter([{"not_done": []}, {"integrity": ["malformed"], "counters": {}}, {"not_done": ["vacuum"]}])
    with tier_on(paper, monkeypatch) as tier:
        tier.layers.sqlite = lambda wish: next(answers)  # type: ignore[method-assign]
        tier.configure(replace(cell, hosts=4))  # two hosts will be drained, with the file open
        tier.configure(cell)
        assert tier.reset_database(cell) == []
        removed = len(paper.removed)
        (said,) = tier.reset_database(cell)
        assert said == f"the SQLite file was found damaged and made anew before {cell.name}: malformed"
        assert paper.removed[removed:] == [f"{SHARED}/sqlite-tuned.db"]
        assert [paper.runs[f"app-{n}"]["BACKEND"] for n in (1, 2, 3, 4)] == ["sqlite-tuned"] * 2 + ["postgres"] * 2
        assert tier.reset_database(cell) == ["vacuum"]


def test_a_driver_that_was_killed_does_not_keep_the_next_from_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, Sequence[str]]] = []

    def run(station: Station, command: Sequence[str], *, stdin: str = "", **_: Any) -> Result:
        ran.append((station.name, command))
        return Result(code=0, stdout=json.dumps({"result": json.loads(stdin)}) if stdin else "", stderr="")

    monkeypatch.setattr(Station, "run", run)
    job = {"what": "isolation", "sqlite": {"profile": "naive"}}
    with tier_on(Paper(2), monkeypatch) as tier:
        result = tier.run_workload(RemoteWorkload(role="app", module="harness.isolation", job=job))
    path = f"{SHARED}/isolation.sqlite"
    assert result["sqlite"] == {"profile": "naive", "path": path}
    (cleaned, removed), (driven, _) = ran
    assert (cleaned, driven) == ("app-1", "app-1")
    assert {"rm", path, f"{path}-wal", f"{path}-shm", f"{path}-journal"} <= set(removed)


@pytest.mark.parametrize(("kept", "left"), [(1, "1"), (25, None)])
def test_a_driver_finds_room_among_the_database_connections(
    monkeypatch: pytest.MonkeyPatch, kept: int, left: str | None
) -> None:
    """The 2 x 25 that crossed requests of the service had kept the driver's 20 pairs out of a server of 100."""
    paper = Paper(4)
    answer = Result(code=0, stdout=json.dumps({"result": {}}), stderr="")
    cell = Cell(scenario="s", hosts=2, pool=25, params={"app_pool_min": kept})
    with tier_on(paper, monkeypatch) as tier:
        tier.configure(cell)
        assert paper.runs["app-2"]["POOL_MIN"] == str(kept)
        monkeypatch.setattr(tier, "dsn", lambda: "")
        run = Station.run
        monkeypatch.setattr(Station, "run", lambda h, c, **o: run(h, c, **o) if c[0] == "sh" else answer)
        tier.run_workload(RemoteWorkload(role="app", module="harness.isolation", job={}))
        assert [paper.runs[f"app-{n}"].get("POOL_MIN") for n in (1, 2)] == [left] * 2
        tier.configure(cell)
        assert paper.runs["app-2"]["POOL_MIN"] == str(kept)


def test_a_service_that_does_not_start_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.dumps({"event": "cannot start", "reason": "the SQLite file /srv/a.db is on nfs4"})
    monkeypatch.setattr(Station, "run", lambda station, command, **_: Result(code=0, stdout=line + "\n", stderr=""))
    paper = Paper(3)
    answers = {"app-1.1": (200, ""), "app-2.1": (0, ""), "app-3.1": (200, "")}
    with tier_on(paper, monkeypatch) as tier:
        layers = LayerCounters(tier.rig, None)  # type: ignore[arg-type]
        monkeypatch.setattr(layers, "ask", lambda hosts, path: answers)
        monkeypatch.setattr(layers, "healthy", lambda hosts: False)
        assert layers.last_words(paper.hosts[:3]) == "; app-2: the SQLite file /srv/a.db is on nfs4"

        def in_vain(what: str, holds: object) -> None:
            raise RigError(f"waited in vain until {what}", hint="see ./run status")

        monkeypatch.setattr(tier, "_until", in_vain)
        tier.layers = layers
        with pytest.raises(RigError, match="waited in vain until the app hosts answer; app-2: the SQLite file"):
            tier.configure(Cell(scenario="s", hosts=3))
