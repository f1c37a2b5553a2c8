"""The isolation scenario: where the cases run, and results that are missing.

Findings from transcripts are tested in tests/harness/isolation/test_matrix.py.
"""

from __future__ import annotations

import pytest

from harness.checks.evaluate import judge_trial
from harness.plan.scenario import RemoteWorkload, Site, Skip
from harness.scenarios import SCENARIOS
from tests.support.histories import history
from tests.support.records import FOREIGN, cell, cells, measured


def test_one_cell_per_backend_of_the_site() -> None:
    assert [c.backend for c in cells("isolation")] == ["postgres", "sqlite-naive", "sqlite-tuned"]
    assert [c.backend for c in cells("isolation", Site(hosts=2))] == ["postgres"]
    assert [c.backend for c in cells("isolation", backend="sqlite-tuned")] == ["sqlite-tuned"]
    assert [c.backend for c in cells("isolation", quick=True)] == ["postgres"]
    assert [c.backend for c in cells("isolation", quick=True, backend="sqlite-naive")] == ["sqlite-naive"]
    with pytest.raises(Skip, match="needs the database itself"):
        cells("isolation", FOREIGN)


@pytest.mark.parametrize(
    ("backend", "role", "job"),
    [
        ("postgres", "load", {"what": "isolation"}),
        ("sqlite-naive", "app", {"what": "isolation", "sqlite": {"profile": "naive"}}),
        ("sqlite-tuned", "app", {"what": "isolation", "sqlite": {"profile": "tuned"}}),
    ],
)
def test_the_cases_run_where_the_data_is(backend: str, role: str, job: dict[str, object]) -> None:
    work = SCENARIOS["isolation"].workload(measured(cell("isolation", backend=backend), history()).row.trial)
    assert work == RemoteWorkload(role=role, module="harness.isolation", job=job)  # type: ignore[arg-type]


@pytest.mark.parametrize("result", [None, {}, {"cells": []}])
def test_a_missing_or_empty_result_is_unknown(result: dict[str, object] | None) -> None:
    driven = measured(cell("isolation", backend="postgres"), history(), workload_result=result)
    findings = judge_trial(SCENARIOS["isolation"], driven)
    assert findings
    assert {f.verdict for f in findings} == {"unknown"}
