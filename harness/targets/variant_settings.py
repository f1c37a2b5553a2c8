"""The settings that variants change, on a rig: checked before a bench measures them, read back in each trial."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import RigError, UsageError
from harness.model import Cell, Host
from harness.plan.variants import APP, CODE, POOL, POSTGRES, Variant, varied_keys, varied_of
from harness.rig.rig import Rig
from harness.targets.app_workers import AppWorkers
from harness.targets.server_settings import ServerSettings
from harness.text import nearest, printable

_CHECK = """
import os, sys
from app.settings import Settings, SettingsError
try:
    Settings.from_environment(os.environ)
except SettingsError as error:
    sys.exit(f"refused: {error}")
"""
"""Prints why the deployed service would not start with the settings of the environment."""
POOLS = (POOL, "app_pool_min")
"""Checked by the plan, because the processes of a host share its pool."""


def require_names(variants: Sequence[Variant], known: Mapping[str, Any]) -> None:
    """Raises UsageError for a setting that the service does not report. `known`: the settings of its /metrics."""
    for key in varied_keys(variants):
        if key.startswith(APP) and key.removeprefix(APP) not in known:
            hint = nearest(key, [f"{APP}{name}" for name in known])
            raise UsageError(f"the service has no setting for '{printable(key, 80)}'", hint=hint)


def require_values(rig: Rig, host: Host, variants: Sequence[Variant], python: Sequence[str]) -> None:
    """Raises UsageError for a value with which the deployed service would not start. `python`: the host's command."""
    for variant in variants:
        settings = {key: value for key, value in variant.settings.items() if key.startswith(APP) and key not in POOLS}
        if not settings:
            continue
        environ = [f"{key.removeprefix(APP).upper()}={value}" for key, value in settings.items()]
        done = rig.at(host).run([python[0], *environ, *python[1:], "-c", _CHECK], check=False)
        if done.code:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.code}"])[-1]
            reason = printable(last.removeprefix("refused: "), 300)
            raise UsageError(
                f"variant '{variant.name}': the service does not start: {reason}",
                hint="docs/settings.md lists the settings and their ranges",
            )


def effective(settings: Mapping[str, str], provisioned: Mapping[str, Any]) -> dict[str, str]:
    """Returns the settings of a variant in one form each, without those that the service has anyway."""
    plain = {key: value if key == CODE else _plain(value) for key, value in settings.items()}
    return {
        key: value
        for key, value in plain.items()
        if not key.startswith(APP) or key in POOLS or value != _plain(provisioned.get(key.removeprefix(APP)))
    }


def require_effect(variants: Sequence[Variant], effects: Mapping[str, Mapping[str, str]]) -> None:
    """Raises UsageError if two variants are the same. `effects`: name -> the settings that are not as provisioned."""
    for first, second in itertools.combinations(variants, 2):
        if effects[first.name] == effects[second.name]:
            raise UsageError(
                f"the variants '{first.name}' and '{second.name}' are the same on this rig: "
                f"{settings_of(effects[first.name])}",
                hint="a variant has to change something: remove one of them, or give another value",
            )


def settings_of(settings: Mapping[str, str]) -> str:
    """Returns settings as one text."""
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "all settings are as provisioned"


def in_force(cell: Cell, workers: AppWorkers, server: ServerSettings) -> dict[str, str]:
    """Returns the varied settings as the serving workers and the server have them, by key; empty where none answers.

    Different values of workers are joined by a comma. The size of a pool is that of each worker.
    """
    keys = varied_of(cell)
    names = [key.removeprefix(POSTGRES) for key in keys if key.startswith(POSTGRES)]
    try:
        found = {f"{POSTGRES}{name}": value for name, value in server.values(names).items()} if names else {}
        if any(key.startswith(APP) or key == CODE for key in keys):
            bodies = workers.metrics(workers.hosts[: cell.hosts]).values()
            if CODE in keys:
                found[CODE] = ", ".join(dict.fromkeys(str(body.get("code")) for body in bodies))
            running = [body.get("settings", {}) for body in bodies]
            for key in keys:
                if key.startswith(APP):
                    values = dict.fromkeys(_plain(settings.get(key.removeprefix(APP))) for settings in running)
                    found[key] = ", ".join(values)
    except RigError:  # the trial was measured: its other evidence is kept
        return {}
    return found


def _plain(value: object) -> str:
    """Returns a number in one form: `5` for `5.0`."""
    try:
        return f"{float(str(value)):g}"
    except ValueError:
        return str(value)
