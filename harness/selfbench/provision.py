"""Measures how long it takes to provision a rig of containers: `./run selfbench provision`.

For 1, 2, 4 and 8 app hosts, each time with a database, a load balancer and a load host:

warm       the rig does not exist; its image and the packages of the hosts are cached
unchanged  the same provision again; if it changes anything, there is no figure
cold       only with --cold: like warm, with the image built first. It is built once, under a temporary name, and its
           time is added to each warm provision

A figure is the wall-clock time of one call of `provisioner.provision`, with the stages of its report; the start of
Python (0.5 s) is not included. The rig is called selfbench-… and is destroyed however the benchmark ends. Other rigs
are not touched.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import RigError
from harness.provision import image, podman_cli
from harness.provision.bundle import build_bundle
from harness.provision.inventory import read_inventory
from harness.provision.providers import podman
from harness.provision.provisioner import destroy, provision
from harness.rig import state
from harness.selfbench.analysis import Entry, entry
from harness.text import strict_json

INVENTORY = state.ROOT / podman.INVENTORY
APP_HOSTS = (1, 2, 4, 8)
OTHERS = 3
"""Other hosts: inventory/local.yml has one database, one load balancer and one load host."""

TARGETS = {"warm_8": "<= 60", "unchanged_8": "<= 20"}
"""Seconds, on two cores."""

MISSING = {
    "cold": "--cold was not given",
    "warm": "the benchmark ended before",
    "unchanged": "the benchmark ended before",
}
"""Kind of provision -> why it was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionTime:
    """Duration of one provision, and the number of its changes."""

    seconds: float
    changed: int
    stages: Mapping[str, float]

    def line(self, kind: str, app_hosts: int) -> str:
        """The line to print: the stages in order."""
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.stages.items())
        return f"{kind:9}  {app_hosts} app hosts  {self.seconds:6.1f} s: {parts}"


def main(json_path: Path | None = None, *, cold: bool = False) -> None:
    """Measures, prints one line per provision and figure, and writes `{name: {value, unit, target, detail}}` as JSON.

    Completed measurements are printed and written even if a later one fails (RigError) or is interrupted.
    """
    times: dict[tuple[str, int], ProvisionTime] = {}
    try:
        with _temporary_rig() as rig:
            for (kind, app_hosts), time_taken in _measure(rig, cold=cold):
                times[kind, app_hosts] = time_taken
                print(time_taken.line(kind, app_hosts), flush=True)
    finally:
        figures = entries(times)
        for name, figure in figures.items():
            value = "not measured" if figure["value"] is None else f"{figure['value']:.1f} {figure['unit']}"
            print(f"{name:26} {value:>12}   target {figure['target']:6} {figure['detail']}")
        if json_path:
            json_path.write_text(strict_json(figures, indent=1) + "\n", encoding="utf-8")


def entries(times: Mapping[tuple[str, int], ProvisionTime]) -> dict[str, Entry]:
    """All figures, from (kind, app hosts) -> time. Pure."""
    return {
        f"provision.{kind}_{hosts}_s": _entry(kind, hosts, times.get((kind, hosts)))
        for kind in MISSING
        for hosts in APP_HOSTS
    }


def _entry(kind: str, app_hosts: int, taken: ProvisionTime | None) -> Entry:
    target = TARGETS.get(f"{kind}_{app_hosts}", "none")
    reason = ""
    if taken is None:
        reason = MISSING[kind]
    elif kind == "unchanged" and taken.changed:
        reason = f"the second provision made {taken.changed} changes"
    elif kind != "unchanged" and not taken.changed:
        reason = "the provision changed nothing"
    if taken is None or reason:
        return entry(None, "s", target, f"not measured: {reason}")
    longest = sorted(taken.stages, key=lambda name: -taken.stages[name])[:3]
    parts = ", ".join(f"{name} {taken.stages[name]:.1f} s" for name in longest)
    return entry(taken.seconds, "s", target, f"changed={taken.changed} on {app_hosts + OTHERS} hosts; longest: {parts}")


def _measure(rig: str, *, cold: bool) -> Iterator[tuple[tuple[str, int], ProvisionTime]]:
    podman.prepare(rig, read_inventory(INVENTORY, state.ROLES_DIR), max(APP_HOSTS), _quiet)
    recipe = image.prepare(state.ROLES_DIR)
    _ensure_image(recipe, recipe.tag)
    build_bundle()
    built_s = _build_image(recipe, rig) if cold else None
    for app_hosts in APP_HOSTS:
        warm = _provision(rig, app_hosts)
        yield ("warm", app_hosts), warm
        yield ("unchanged", app_hosts), _provision(rig, app_hosts)
        if built_s is not None:
            stages = {**warm.stages, "image": built_s + warm.stages["image"]}
            yield ("cold", app_hosts), replace(warm, seconds=built_s + warm.seconds, stages=stages)
        destroy(rig, echo=_quiet)


def _provision(rig: str, app_hosts: int) -> ProvisionTime:
    started = time.monotonic()
    report = provision(rig, echo=_quiet, inventory=INVENTORY, hosts=app_hosts)
    return ProvisionTime(seconds=time.monotonic() - started, changed=report.changed, stages=report.stages)


def _build_image(recipe: image.Recipe, rig: str) -> float:
    """Builds the image under a new name and removes it; returns the seconds it took."""
    tag = f"{recipe.tag.partition(':')[0]}:{rig}"
    started = time.monotonic()
    try:
        _ensure_image(recipe, tag)
        return time.monotonic() - started
    finally:
        if tag in podman_cli.images():
            podman_cli.run("rmi", tag)


def _ensure_image(recipe: image.Recipe, tag: str) -> None:
    command = [str(state.PLAYBOOKS / "images/container/ensure.sh"), tag, str(recipe.folder)]
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RigError(f"the image could not be built: {image.SUITE}, {recipe.folder}", output=result.stderr[-2000:])


@contextmanager
def _temporary_rig() -> Iterator[str]:
    """Yields an unused rig name and destroys the rig afterwards; signals cannot interrupt that."""
    name = f"selfbench-{secrets.token_hex(4)}"
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in ends}
    try:
        yield name
    finally:
        for number in ends:
            signal.signal(number, signal.SIG_IGN)
        try:
            destroy(name, echo=_quiet)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _quiet(line: str) -> None:
    """Discards Ansible's progress, which does not belong between the figures."""
