"""Requests that the client gave up: only a fault that leaves them without an answer for so long excuses them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checks import names
from harness.checks.request_end import check_end
from harness.model import Finding
from tests.support.fault_trials import AT_S, HEAL_S, FaultTrial, S, cell, record, trial

ROW = 430
"""Sent 0.3 s after the injection."""


def judged(doctored: FaultTrial, fault: str) -> Finding:
    return check_end(cell(fault), doctored.samples, doctored.evidence.faults, timeout_s=30.0)  # type: ignore[arg-type]


def given_up(fault: str, after_s: float = 30.0, *, row: int = ROW, **record_values: Any) -> FaultTrial:
    """One request without an answer for so long."""
    doctored = trial(fault, **record_values)
    done_us = doctored.samples.sent_us[row] + round(after_s * S)
    doctored.set(row, outcome="unknown", value=None, status=0, error="timeout", done_us=done_us)
    return doctored


def test_a_sound_trial_passes() -> None:
    found = judged(trial("slow-network"), "slow-network")
    assert (found.check, found.verdict) == (names.ENDED, "pass")
    assert found.detail == "the longest of 1,600 requests took 0.0 s, clients wait for 30 s"


@pytest.mark.parametrize("fault", ["slow-network", "partition-lb", "app-pause", "db-crash", "lb-reload", "app-kill"])
def test_a_request_that_the_client_gave_up_fails(fault: str) -> None:
    doctored = given_up(fault, 29.1)
    found = judged(doctored, fault)
    assert found.verdict == "fail"
    assert found.detail == f"1 of 1,600 requests took 29 s or longer, the first: {doctored.at(ROW)} (unknown, timeout)"
    assert found.numbers["given_up"] == 1


def test_a_slow_answer_on_a_busy_machine_passes() -> None:
    found = judged(given_up("slow-network", 20.0), "slow-network")
    assert found.verdict == "pass"
    assert "took 20.0 s" in found.detail


def test_a_request_that_was_never_sent_is_no_hung_one() -> None:
    doctored = given_up("db-crash")
    doctored.set(ROW, error="not sent")
    assert judged(doctored, "db-crash").verdict == "pass"


@pytest.mark.parametrize("fault", ["host-down", "lb-kill"])
def test_a_host_that_vanishes_closes_no_connection(fault: str) -> None:
    found = judged(given_up(fault), fault)
    assert found.verdict == "pass"
    assert f"1 while {fault} on app-1 was present" in found.detail
    later = round((HEAL_S + 2) * 100)
    assert judged(given_up(fault, row=later), fault).verdict == "fail", "it was sent after the heal"


def test_a_database_that_stood_still_for_so_long_is_an_excuse() -> None:
    """27 of the 30 s: what is left is within the bound of the recovery."""
    long = {"healing_us": round((AT_S + 27) * S), "healed_us": round((AT_S + 27.1) * S), "observed_us": {}}
    assert judged(given_up("db-pause", **long), "db-pause").verdict == "pass"
    short = {"healing_us": round((AT_S + 10) * S), "healed_us": round((AT_S + 10.1) * S), "observed_us": {}}
    assert judged(given_up("db-pause", **short), "db-pause").verdict == "fail"


def test_a_fault_that_was_not_injected_or_not_healed() -> None:
    doctored = given_up("lb-kill")
    doctored.more["faults"] = (record("lb-kill", injected_us=None, healing_us=None, healed_us=None, observed_us={}),)
    assert judged(doctored, "lb-kill").verdict == "fail"
    doctored.more["faults"] = (record("db-pause", healing_us=None, healed_us=None, observed_us={}),)
    assert judged(doctored, "db-pause").verdict == "pass", "it stood still until the end"


def test_nothing_is_known_without_requests() -> None:
    empty = trial("app-kill")
    samples = replace(empty.samples, **{name: [] for name in empty.samples.__dataclass_fields__ if name != "captured"})
    assert check_end(cell("app-kill"), samples, (), timeout_s=30.0).verdict == "unknown"  # type: ignore[arg-type]
