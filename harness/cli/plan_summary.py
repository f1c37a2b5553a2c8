"""What `bench --dry-run` prints beside the trials: cells, hosts, time, disk and connections."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from harness.cli.live import elapsed
from harness.cli.runs import RESULTS
from harness.plan.estimate import ASSUMED_RPS, estimate
from harness.plan.planner import Plan
from harness.plan.scenario import Site
from harness.scenarios import SCENARIOS
from harness.text import plural, strict_json


def plan_lines(plan: Plan, site: Site) -> Iterator[str]:
    """Yields lines about what the plan costs."""
    cost = estimate(plan, SCENARIOS, site)
    most = "at most " if plan.later else ""
    cells, trials = plural(cost.cells, "cell"), plural(cost.trials, "trial")
    hosts = f"{cost.app_hosts} of {plural(site.hosts, 'app host')}"
    yield f"{cells} of {plural(cost.scenarios, 'scenario')}, {most}{trials}, {hosts}"
    yield (
        f"time: {most}about {elapsed(cost.seconds)}; disk: about {cost.bytes / 2**20:,.0f} MiB, "
        f"{_free_bytes(RESULTS) / 2**30:,.0f} GiB are free (closed loads are counted at {ASSUMED_RPS:,.0f} requests/s)"
    )
    if cost.connections is not None:
        yield (
            f"connections: at most {cost.clients:,} of the load; the pools of all app hosts have at most "
            f"{cost.connections}, PostgreSQL has {cost.budget} for them"
        )


def plan_json(plan: Plan, site: Site) -> str:
    """Returns the plan as JSON: its trials in order, what is skipped, and what it costs."""
    trials = [{"order": trial.order, "cell": trial.cell.name, "number": trial.number} for trial in plan.trials]
    cost = asdict(estimate(plan, SCENARIOS, site)) | {"free_bytes": _free_bytes(RESULTS)}
    return strict_json({"trials": trials, "later": plan.later, "skipped": plan.skipped, "cost": cost})


def _free_bytes(folder: Path) -> int:
    """Returns the free bytes of the disk on which the folder is, or will be."""
    folder = folder.absolute()
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free
