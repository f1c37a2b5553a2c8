"""The groups of `./run --list`, and the examples of each task's --help. A test holds that no task is missing."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "Build": {
        "doctor": ("./run doctor --hosts 8",),
        "provision": (
            "./run provision --hosts 8",
            "./run provision --hosts 4 --dry-run",
            "./run provision --only app-2",
            "./run provision --rig mine --provider static --inventory hosts.yml",
        ),
        "heal": ("./run heal",),
        "destroy": ("./run destroy", "./run destroy --rig mine --yes"),
    },
    "Measure": {
        "quickstart": ("./run quickstart",),
        "scenarios": ("./run scenarios",),
        "bench": (
            "./run bench --hosts 8 --quick",
            "./run bench --scenario throughput --strategy upsert,coalesce --repeat 5",
            "./run bench --scenario throughput --vary app_pool_size=5,20",
            "./run bench --dry-run",
        ),
        "check": ("./run check", "./run check --recheck RUN"),
    },
    "Look": {
        "report": (
            "./run report",
            "./run report --compare RUN-A RUN-B RUN-C",
            "./run report --compare A1,A2,A3 B1,B2,B3 --out page.html",
            "./run report --run RUN --format md > comment.md",
            "./run report --run RUN --format json",
            "./run report --junit junit.xml --svg pictures/",
            "./run report --open",
            "./run report --trend throughput --rig mine",
        ),
        "compare": ("./run compare RUN-A RUN-B", "./run compare A1,A2,A3 B1,B2,B3 --fail-if slower:5%"),
        "config": ("./run config", "./run config --schema > pgcrucible.schema.json"),
        "ls": ("./run ls",),
        "rm": ("./run rm RUN",),
        "status": ("./run status", "./run status --json"),
        "watch": ("./run watch", "./run watch --seconds 60 --interval 5 > watch.txt"),
        "logs": ("./run logs db-1", "./run logs app-1 --follow", "./run logs lb-1 --unit ssh --lines 50"),
        "ssh": ("./run ssh app-1", "./run ssh db-1 -- df -h"),
        "pgadmin": ("./run pgadmin", "./run pgadmin --port 5050", "./run pgadmin --stop"),
        "psql": ("./run psql", "./run psql -- -c 'SELECT count(*) FROM pg_stat_activity'"),
    },
    "Develop": {
        "completion": ('eval "$(./run completion bash)"', "./run completion fish | source"),
        "lint": ("./run lint --fix",),
        "test": ("./run test --fast", "./run test --select 'oracle and not ledger'"),
        "docs": ("./run docs",),
        "lock": ("./run lock",),
        "audit": ("./run audit",),
        "fuzz": ("./run fuzz --count 1000000",),
        "selfbench": ("./run selfbench load --json load.json",),
    },
}
"""Group -> task -> examples, in the order of the list."""


def examples_of(task: str) -> tuple[str, ...]:
    """Returns the examples of a task; empty where it has none."""
    return next((tasks[task] for tasks in GROUPS.values() if task in tasks), ())
