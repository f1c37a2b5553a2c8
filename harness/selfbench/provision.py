"""How long it takes until a rig of containers is there: `./run selfbench provision`.

For 1, 2, 4 and 8 app hosts, each with a database, a load balancer and a load host beside them:

warm       hosts from a cached image: nothing of the rig exists, its image and the hosts' packages are cached
unchanged  the same provision once more; where it changes anything, there is no figure
cold       only with --cold: as warm, and the image is built anew before. It is built once, under a name of its own that
           is removed again; what that took is added to each warm provision

A figure is the wall-clock time of one call of `provisioner.provision`, and the stages are those of its report;
the start of Python (0.5 s) is not included. The rig is called selfbench-…, no other one is touched, and whatever ends
the bench, it is destroyed.
"""

from __future__ import annotations

import json
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

INVENTORY = state.ROOT / podman.INVENTORY
APP_HOSTS = (1, 2, 4, 8)
OTHERS = 3
"""Hosts beside them: inventory/local.yml has one database, load balancer and load host."""

TARGETS = {"warm_8": "<= 60", "unchanged_8": "<= 20"}
"""Seconds, on two cores."""

MISSING = {
    "cold": "--cold was not given",
    "warm": "it did not come to that",
    "unchanged": "it did not come to that",
}
"""Kinds of provision, and why one was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What one provision took, and how much it changed."""

    seconds: float
    changed: int
    stages: Mapping[str, float]

    def line(self, kind: str, app_hosts: int) -> str:
        """For people: the stages in their order."""
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.stages.items())
        return f"{kind:9}  {app_hosts} app hosts  {self.seconds:6.1f} s: {parts}"


def main(json_path: Path | None = None, *, cold: bool = False) -> None:
    """Measure, print a line a provision and a figure, and write `{name: {value, unit, target, detail}}` to `json_path`.

    What was measured is printed and written also where the rest fails (RigError) or is interrupted.
    """
    took: dict[tuple[str, int], Took] = {}
    try:
        with _own_rig() as rig:
            for (kind, app_hosts), one in _measure(rig, cold=cold):
                took[kind, app_hosts] = one
                print(one.line(kind, app_hosts), flush=True)
    finally:
        found = entries(took)
        for name, figure in found.items():
            value = "not measured" if figure["value"] is None else f"{figure['value']:.1f} {figure['unit']}"
            print(f"{name:26} {value:>12}   target {figure['target']:6} {figure['detail']}")
        if json_path:
            json_path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def entries(took: Mapping[tuple[str, int], Took]) -> dict[str, Entry]:
    """All figures, of (kind, app hosts) -> what was measured. Pure."""
    return {
        f"provision.{kind}_{hosts}_s": _entry(kind, hosts, took.get((kind, hosts)))
        for kind in MISSING
        for hosts in APP_HOSTS
    }


def _entry(kind: str, app_hosts: int, one: Took | None) -> Entry:
    target = TARGETS.get(f"{kind}_{app_hosts}", "none")
    why = ""
    if one is None:
        why = MISSING[kind]
    elif kind == "unchanged" and one.changed:
        why = f"it changed {one.changed} things that the provision before it had made"
    elif kind != "unchanged" and not one.changed:
        why = "there was nothing to make"
    if one is None or why:
        return entry(None, "s", target, f"not measured, because {why}")
    longest = sorted(one.stages, key=lambda name: -one.stages[name])[:3]
    parts = ", ".join(f"{name} {one.stages[name]:.1f} s" for name in longest)
    return entry(one.seconds, "s", target, f"changed={one.changed} on {app_hosts + OTHERS} hosts; longest: {parts}")


def _measure(rig: str, *, cold: bool) -> Iterator[tuple[tuple[str, int], Took]]:
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


def _provision(rig: str, app_hosts: int) -> Took:
    began = time.monotonic()
    report = provision(rig, echo=_quiet, inventory=INVENTORY, hosts=app_hosts)
    return Took(seconds=time.monotonic() - began, changed=report.changed, stages=report.stages)


def _build_image(recipe: image.Recipe, rig: str) -> float:
    """Builds the image under a name that is not there; seconds."""
    tag = f"{recipe.tag.partition(':')[0]}:{rig}"
    began = time.monotonic()
    try:
        _ensure_image(recipe, tag)
        return time.monotonic() - began
    finally:
        if tag in podman_cli.images():
            podman_cli.run("rmi", tag)


def _ensure_image(recipe: image.Recipe, tag: str) -> None:
    command = [str(state.PLAYBOOKS / "images/container/ensure.sh"), tag, str(recipe.folder)]
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RigError(f"the image could not be built: {image.SUITE}, {recipe.folder}", output=done.stderr[-2000:])


@contextmanager
def _own_rig() -> Iterator[str]:
    """The name of a rig that nobody has; it is gone afterwards, for nothing interrupts that."""
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
    """Ansible's progress, which nobody wants among figures."""
