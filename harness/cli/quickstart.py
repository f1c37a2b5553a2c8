"""The task quickstart: provision, bench, check."""

from __future__ import annotations

from harness.cli.rigs import run_provision
from harness.cli.runs import run_check
from harness.model import MAX_HOSTS
from harness.plan.option_values import whole


def run_quickstart(rig: str, *, hosts: str | None) -> None:
    """Provisions a rig, runs the scenario concurrent-writes, and checks the run."""
    from harness.cli.bench import run_bench

    count = whole("hosts", hosts, 1, MAX_HOSTS) or 4
    run_provision(rig, hosts=str(count))
    if run := run_bench(rig=rig, hosts=str(count), scenario="concurrent-writes"):
        run_check(run.run_id)
