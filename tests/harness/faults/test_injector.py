"""The injector: the order of a fault's steps, its deadlines, the file of open faults, and what an early end does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from harness.errors import RigError
from harness.fault_record import PERHAPS, FaultRecord, PlannedFault
from harness.faults import injector
from harness.faults.base import Before, Fault
from harness.faults.open_faults import OpenFaults, path_of
from harness.rig.rig import Rig
from tests.harness.faults.fake_fault import FakeFault
from tests.support.fake_rig import FakeRig


def planned(fault: str = "a", at_s: float = 0.0, hold_s: float = 0.05, host: int = 0) -> PlannedFault:
    return PlannedFault(fault=fault, at_s=at_s, hold_s=hold_s, host=host)


def run(rig: FakeRig, schedule: Sequence[PlannedFault], faults: Mapping[str, Fault]) -> Sequence[FaultRecord]:
    """The records of a schedule whose load lasts until every fault was handled."""
    with injector.injecting(rig, schedule, time.time(), faults) as records:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not all(one.healed_us or one.problem for one in records):
            time.sleep(0.01)
    return records


def test_a_fault_is_injected_seen_held_and_healed(rig: FakeRig) -> None:
    fault = FakeFault()
    (record,) = run(rig, [planned(hold_s=0.1)], {"a": fault})
    assert fault.steps == ["before", "inject", "seen", "heal", "healed"]
    assert (record.seen, record.healed, record.problem, record.hosts) == ("pid 812 ended", "answers", "", ("app-1",))
    assert record.injected_us is not None
    assert record.healing_us is not None
    assert record.healed_us is not None
    assert record.healing_us - record.injected_us >= 100_000
    assert record.healed_us >= record.healing_us
    assert not path_of(rig.name).exists()


def test_instants_count_from_the_start_of_the_run(rig: FakeRig) -> None:
    with injector.injecting(rig, [planned()], time.time() - 100, {"a": FakeFault()}) as records:
        time.sleep(0.3)
    assert records[0].injected_us is not None
    assert 100_000_000 <= records[0].injected_us < 110_000_000


def test_a_fault_is_in_the_file_before_it_is_injected(rig: FakeRig) -> None:
    stored: list[Sequence[object]] = []
    fault = FakeFault(on_inject=lambda: stored.append(OpenFaults(rig.name).all()))
    run(rig, [planned()], {"a": fault})
    ((opened,),) = stored
    assert (opened.planned, opened.before) == (planned(), {"pid": "812"})  # type: ignore[attr-defined]


def test_a_fault_without_effect_is_a_problem_and_is_healed(rig: FakeRig) -> None:
    fault = FakeFault(has_effect=False)
    (record,) = run(rig, [planned()], {"a": fault})
    assert record.problem == "not seen within 0.3 s"
    assert (record.seen, record.healed) == ("", "answers")


def test_a_fault_that_is_not_healed_is_a_problem_and_stays_in_the_file(rig: FakeRig) -> None:
    (record,) = run(rig, [planned()], {"a": FakeFault(heals=False)})
    assert record.problem == "not healed within 0.3 s"
    assert record.healed_us is None
    assert [opened.planned for opened in OpenFaults(rig.name).all()] == [planned()]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("before", "not injected: app-1: no answer to before"),
        ("inject", "the injection failed: app-1: no answer to inject"),
        ("seen", "not seen within 0.3 s: app-1: no answer to seen"),
        ("heal", "the heal failed: app-1: no answer to heal"),
        ("healed", "not healed within 0.3 s: app-1: no answer to healed"),
    ],
)
def test_a_host_that_does_not_answer_is_a_problem(rig: FakeRig, step: str, problem: str) -> None:
    fault = FakeFault(fails=[step])
    (record,) = run(rig, [planned()], {"a": fault})
    assert problem in record.problem
    assert ("heal" in fault.steps) == (step != "before")
    assert path_of(rig.name).exists() == (step == "healed")


def test_a_heal_that_fails_is_tried_again_and_never_hidden(rig: FakeRig) -> None:
    fault = FakeFault(fails=["heal"], heals=False)
    (record,) = run(rig, [planned()], {"a": fault})
    assert record.problem == "the heal failed: app-1: no answer to heal; not healed within 0.3 s"
    assert path_of(rig.name).exists()


@pytest.mark.parametrize("step", ["before", "inject", "heal"])
def test_a_step_that_hangs_is_a_problem_and_no_hang(rig: FakeRig, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injector, "STEP_S", 0.3)
    (record,) = run(rig, [planned()], {"a": FakeFault(hangs=[step])})
    assert "did not end within" in record.problem


def test_an_injection_that_does_not_end_may_leave_its_fault(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    """It went on after its heal, which was seen before."""
    monkeypatch.setattr(injector, "STEP_S", 0.3)
    (record,) = run(rig, [planned()], {"a": FakeFault(hangs=["inject"])})
    assert record.healed == "answers"
    assert record.left.startswith("the injection did not end within")
    assert record.left in record.problem
    assert path_of(rig.name).exists()


def test_what_the_heal_had_to_do_is_recorded(rig: FakeRig) -> None:
    (record,) = run(rig, [planned()], {"a": FakeFault(helped="db-1: started it")})
    assert record.helped == "db-1: started it"


class LosesAnswers(FakeFault):
    """Its first heals are done, and their answer is lost."""

    def __init__(self, *, lost: int, nothing: str | None = "") -> None:
        super().__init__(deadline_s=1.0)
        self._lost, self._nothing = lost, nothing

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        self._lost -= 1
        if self._lost >= 0:
            raise RigError("db-1: the connection was lost")
        return self._nothing


def test_help_whose_answer_was_lost_is_not_forgotten(rig: FakeRig) -> None:
    """The next heal finds the server up: the first one may have started it."""
    (record,) = run(rig, [planned()], {"a": LosesAnswers(lost=1)})
    assert record.helped == f"{PERHAPS}an earlier attempt failed: db-1: the connection was lost"
    assert record.healed == "answers"
    (record,) = run(rig, [planned()], {"a": LosesAnswers(lost=99)})
    assert record.helped == f"{PERHAPS}an earlier attempt failed: db-1: the connection was lost"


def test_a_fault_that_ends_only_with_its_heal_is_never_helped(rig: FakeRig) -> None:
    (record,) = run(rig, [planned()], {"a": LosesAnswers(lost=1, nothing=None)})
    assert (record.helped, record.healed) == ("", "answers")


def test_help_that_a_later_heal_names_is_certain(rig: FakeRig) -> None:
    (record,) = run(rig, [planned()], {"a": LosesAnswers(lost=1, nothing="db-1: started it")})
    assert record.helped == "db-1: started it"


class Restarts(FakeFault):
    """Processes of these hosts do not outlive it."""

    def __init__(self, *hosts: str, fails: Sequence[str] = ()) -> None:
        super().__init__(fails=fails)
        self._hosts = hosts

    def restarted(self, rig: Rig, planned: PlannedFault, before: Before) -> Mapping[str, str]:
        self._step("restarted")
        return {host: f"{host}: the service restarted" for host in self._hosts}


def test_processes_that_should_have_outlived_a_fault_are_help(rig: FakeRig) -> None:
    (record,) = run(rig, [planned()], {"a": Restarts("app-1", "app-2")})
    assert record.helped == "app-1: the service restarted; app-2: the service restarted"
    assert run(rig, [planned()], {"a": Restarts()})[0].helped == ""
    (record,) = run(rig, [planned()], {"a": Restarts(fails=["restarted"])})
    assert record.helped.startswith(f"{PERHAPS}whether it restarted was not read: app-1: no answer")


def test_a_restart_on_a_host_of_another_fault_is_its_own(rig: FakeRig) -> None:
    """In a mixed schedule `app-kill` may restart a worker while the connections are gone."""
    schedule = [planned(hold_s=0.5), planned("kill", at_s=0.1, host=1)]
    records = run(rig, schedule, {"a": Restarts("app-1", "app-2"), "kill": FakeFault()})
    assert [record.helped for record in records] == ["app-1: the service restarted", ""]


def test_at_most_two_faults_are_active_and_one_on_each_host(rig: FakeRig) -> None:
    fault = FakeFault()
    records = run(rig, [planned(host=n, hold_s=0.1) for n in range(6)], {"a": fault})
    assert [record.problem for record in records] == [""] * 6
    assert fault.most_active == 2
    by_host: dict[str, list[tuple[int, int]]] = {}
    for record in records:
        assert record.injected_us is not None
        assert record.healed_us is not None
        by_host.setdefault(record.hosts[0], []).append((record.injected_us, record.healed_us))
    for spans in by_host.values():
        ordered = sorted(spans)
        assert all(first[1] <= second[0] for first, second in pairwise(ordered))


def test_the_end_of_the_load_heals_at_once_and_injects_nothing_more(rig: FakeRig) -> None:
    fault = FakeFault()
    schedule = [planned(hold_s=60.0), planned(at_s=60.0, host=1)]
    with injector.injecting(rig, schedule, time.time(), {"a": fault}) as records:
        while not records[0].seen:
            time.sleep(0.01)
    assert (records[0].healed, records[0].problem) == ("answers", "")
    assert records[1].problem == "not injected: the load ended before 60 s"
    assert records[1].injected_us is None
    assert not path_of(rig.name).exists()


def test_an_interruption_heals_and_is_raised_again(rig: FakeRig) -> None:
    fault = FakeFault()
    records: Sequence[FaultRecord] = ()

    def measure() -> None:
        nonlocal records
        with injector.injecting(rig, [planned(hold_s=60.0)], time.time(), {"a": fault}) as records:
            while not records[0].seen:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure()
    assert records[0].healed == "answers"
    assert not path_of(rig.name).exists()


def test_a_fault_waits_while_others_are_active_until_the_load_ends(rig: FakeRig) -> None:
    schedule = [planned(hold_s=60.0), planned(hold_s=60.0)]  # both on one host
    with injector.injecting(rig, schedule, time.time(), {"a": FakeFault()}) as records:
        while not any(record.seen for record in records):
            time.sleep(0.01)
    assert sorted(record.problem for record in records) == [
        "",
        "not injected: earlier faults lasted until the load ended",
    ]


def test_without_a_schedule_nothing_is_asked_of_the_rig(rig: FakeRig) -> None:
    with injector.injecting(rig, [], time.time(), {}) as records:
        pass
    assert (list(records), rig.commands) == ([], [])


class Untidy(FakeFault):
    """Leaves something that is removed once the load has ended."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self._tidy_fails = fails
        self.in_file: list[bool] = []

    def tidy(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        self.steps.append("tidy")
        self.in_file.append(path_of(rig.name).exists())
        if self._tidy_fails:
            raise RigError("db-1: it is busy")


def test_what_a_fault_leaves_is_removed_after_the_load(rig: FakeRig) -> None:
    fault = Untidy()
    with injector.injecting(rig, [planned()], time.time(), {"a": fault}) as records:
        while not records[0].healed:
            time.sleep(0.01)
        assert "tidy" not in fault.steps
    assert fault.steps[-1] == "tidy"
    assert fault.in_file == [True]
    assert not path_of(rig.name).exists()


def test_what_cannot_be_removed_is_a_problem_and_stays_in_the_file(rig: FakeRig) -> None:
    with injector.injecting(rig, [planned()], time.time(), {"a": Untidy(fails=True)}) as records:
        while not records[0].healed:
            time.sleep(0.01)
    (record,) = records
    assert record.problem == record.left == "not removed: db-1: it is busy"
    assert path_of(rig.name).exists()
