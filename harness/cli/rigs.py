"""The tasks doctor, provision, status, heal and destroy."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from harness.cli.console import complain, confirm, progress, say
from harness.cli.live import live_lines
from harness.errors import RigError, UsageError
from harness.model import MAX_HOSTS
from harness.plan.option_values import whole
from harness.text import strict_json


def run_doctor(*, hosts: str | None, as_json: bool) -> None:
    """Prints the checks of this machine for a rig with that many app hosts. Raises RigError if one fails."""
    from harness.provision import doctor

    checks = doctor.examine((whole("hosts", hosts, 1, MAX_HOSTS) or 8) + 3)
    if as_json:
        print(strict_json([dataclasses.asdict(check) for check in checks]))
    else:
        for check in checks:
            say(f"{check.status:4}  {check.name:<17} {check.detail}")
            if check.cure and check.status != "ok":
                say(f"      {'':<17} fix: {check.cure}")
    failed = [check.name for check in checks if check.status == "fail"]
    if failed:
        raise RigError(f"this machine cannot host a rig yet: {', '.join(failed)}", hint="apply the fixes listed above")


def run_provision(
    rig: str,
    inventory: str | None = None,
    provider: str | None = None,
    hosts: str | None = None,
    *,
    only: str | None = None,
    dry_run: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Creates or updates the rig and prints the seconds of each stage; `only`: repeats the roles on these hosts."""
    given = {
        "inventory": Path(inventory).absolute() if inventory else None,
        "provider": provider,
        "hosts": whole("hosts", hosts, 1, MAX_HOSTS),
    }
    if only and (dry_run or any(value is not None for value in given.values())):
        raise UsageError("--only repeats the roles as they are and takes no other option", hint="leave out the others")
    if as_json and not dry_run:
        raise UsageError("--json needs --dry-run", hint="./run status --json describes the rig that is built")
    if dry_run:
        _print_preview(rig, given, as_json=as_json)
        return
    with progress(quiet=quiet, as_json=False):
        if only:
            from harness.provision.reconfigure import reconfigure

            names = [name.strip() for name in only.split(",") if name.strip()]
            with live_lines(f"rig {rig}") as echo:
                result = reconfigure(rig, names, echo=echo)
            ended = f"{', '.join(names)}: changed={result.changed}; ./run provision --rig {rig} finishes the rig"
        else:
            ended = _provision(rig, given)
    say(ended)


def _provision(rig: str, given: dict[str, Any]) -> str:
    """Provisions the rig, prints warnings and stages, and returns the line of the result."""
    from harness.provision.provisioner import provision

    with live_lines(f"rig {rig}") as echo:
        report = provision(rig, **given, echo=echo)
    for warning in report.warnings:
        complain(f"warning: {warning}")
    for name, seconds in report.stages.items():
        say(f"  {name:<10} {seconds:6.1f} s")
    return f"rig '{rig}' is ready: changed={report.changed}"


def _print_preview(rig: str, given: dict[str, Any], *, as_json: bool) -> None:
    from harness.provision.preview import preview

    found = preview(rig, **given)
    if as_json:
        print(strict_json(found.as_json()))
        return
    for line in found.lines():
        say(line)


def run_destroy(rig: str, *, yes: bool, purge: bool, take_over: bool, forget: bool) -> None:
    """Removes a rig; asks for confirmation on a terminal."""
    from harness.provision.provisioner import destroy

    if not yes and sys.stdin.isatty() and not confirm(f"destroy rig '{rig}' and everything in it?"):
        raise UsageError("not destroyed", hint="answer y, or add --yes")
    _heal_first(rig, made_hosts=False)
    report = destroy(rig, purge=purge, take_over=take_over, forget=forget, echo=say)
    for line in report.remaining:
        say(f"warning: {line}")
    say(f"rig '{rig}' is destroyed" if report.removed else f"there is no rig '{rig}': nothing was removed")


def run_heal(rig: str) -> None:
    """Undoes what faults left on the rig. Raises RigError with what could not be undone."""
    from harness.faults import FAULTS
    from harness.faults.heal import heal
    from harness.rig import state
    from harness.rig.rig import existing_rig

    with state.locked(rig), existing_rig(rig) as opened:
        report = heal(opened, FAULTS)
    for line in report.undone:
        say(line)
    if report.remaining:
        raise RigError(
            f"rig '{rig}' is not healed: {'; '.join(report.remaining)}",
            hint=f"./run status --rig {rig}; or ./run destroy --rig {rig} and ./run provision --rig {rig}",
        )
    say(f"rig '{rig}' is healed" if report.undone else f"rig '{rig}': nothing to heal")


def _heal_first(rig: str, *, made_hosts: bool = True) -> None:
    """Undoes the open faults of a rig that is about to be changed; what remains is a warning.

    `made_hosts`: also where the provider made the hosts, which a destroy removes with all that is on them.
    """
    from harness.faults.heal import has_open_faults
    from harness.provision.providers import provider_of
    from harness.rig import state

    if not has_open_faults(rig):
        return
    try:
        stored = state.load(rig)
        if stored and (made_hosts or not provider_of(stored).MAKES_HOSTS):
            run_heal(rig)
    except RigError as error:
        say(f"warning: {error.message}")


def run_status(rig: str | None, *, as_json: bool) -> None:
    """Prints the status of one rig, or of all rigs, host by host."""
    from harness.provision.status import status, status_of_all

    statuses = {rig: status(rig)} if rig else status_of_all()
    if as_json:
        print(strict_json({name: rig_status.as_json() for name, rig_status in statuses.items()}))
        return
    if not statuses:
        say("there is no rig; create one with: ./run provision")
    for name, rig_status in statuses.items():
        say(f"rig {name}")
        for line in rig_status.lines():
            say(f"  {line}")
