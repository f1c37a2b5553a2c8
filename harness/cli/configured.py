"""Fills the options that a task was not given from pgcrucible.yml and the environment.

Quick to import: configuration.py, which reads them, is imported only where there is something to read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = "pgcrucible.yml"
PREFIX = "PGCRUCIBLE_"
CONFIG = f"{PREFIX}CONFIG"
"""Names another file."""
INTERNAL = {CONFIG, *(f"{PREFIX}{name}" for name in ("CWD", "PLAY", "VENV_S"))}
"""Variables that are no settings: the file's place, and what this program's processes tell each other."""
DEFAULT_RIG = "local"
EXCLUSIVE = (("rate", "clients"), ("rig", "base_url"), ("requests", "seconds"))
"""Pairs of bench's options: one that is typed leaves out the other, where it is only configured."""
applied: list[str] = []
"""The options that the configuration added to this call of bench, as typed: a part of the command in run.yml."""


def config_file() -> Path | None:
    """Returns the file that PGCRUCIBLE_CONFIG names, else that of the present folder, else that of the checkout."""
    if named := os.environ.get(CONFIG):
        return Path(named)
    return next((path for path in (Path(FILE).absolute(), ROOT / FILE) if path.is_file()), None)


def runs_folder() -> Path:
    """Returns the folder of the runs. Raises UsageError for a file that cannot be read."""
    if config_file() is None:
        return Path(os.environ.get("PGCRUCIBLE_RESULTS") or ROOT / "results")
    from harness.cli.configuration import results_folder

    return results_folder()


def variables() -> dict[str, str]:
    """Returns the environment variables that are settings, or are meant as such: pydantic-settings ignores the case."""
    return {
        name: text
        for name, text in os.environ.items()
        if text and name.upper().startswith(PREFIX) and name not in INTERNAL
    }


def configured(task: str, given: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Returns the arguments of a task: those `given`, and of the others in `known` what is configured.

    Raises UsageError for a configuration that is wrong, whatever the task needs of it.
    """
    filled = dict(given)
    settings: Mapping[str, Any] = {}
    if config_file() or variables():
        from harness.cli.configuration import load, settings_of

        settings = settings_of(load(), task)
    typed = {name for name, value in given.items() if value not in (None, False)}
    excluded = {other for pair in EXCLUSIVE if task == "bench" and typed & set(pair) for other in pair}
    if task == "bench" and "resume" in typed:  # the run's own options
        excluded = set(known)
    if task == "report" and "trend" not in typed:  # the only page of a rig
        known = [name for name in known if name != "rig"]
    for name, value in settings.items():
        if name in known and name not in typed | excluded and value not in (None, False):
            filled[name] = value
            if task == "bench":
                applied.append(f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}"))
    if "rig" in known and filled.get("rig") is None and task not in ("bench", "status"):
        filled["rig"] = DEFAULT_RIG
    return filled
