"""The tasks that build, list and remove rigs: doctor, provision, status, destroy."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from harness.cli.console import say
from harness.errors import RigError, UsageError
from harness.plan.options import whole
from harness.rig import state


def run_doctor(*, hosts: str | None, as_json: bool) -> None:
    """Prints the checks, for a rig of so many app hosts; ends with 3 where one is fatal."""
    from harness.provision import doctor

    checks = doctor.examine((whole("hosts", hosts, 1, 64) or 8) + 3)
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks]))
    else:
        for check in checks:
            print(f"{check.status:4}  {check.name:<17} {check.detail}")
            if check.cure and check.status != "ok":
                print(f"      {'':<17} cure: {check.cure}")
    bad = [check.name for check in checks if check.status == "fail"]
    if bad:
        raise RigError(f"this machine cannot hold a rig yet: {', '.join(bad)}", hint="see the cures above")


def run_provision(rig: str, *, inventory: str | None, provider: str | None, hosts: str | None) -> None:
    """Builds the rig and prints what it took."""
    from harness.provision.provisioner import provision

    report = provision(
        rig,
        inventory=Path(inventory) if inventory else None,
        provider=provider,
        hosts=whole("hosts", hosts, 1, 64),
        echo=say,
    )
    for warning in report.warnings:
        say(f"warning: {warning}")
    for name, seconds in report.stages.items():
        say(f"  {name:<10} {seconds:6.1f} s")
    say(f"rig '{rig}' is ready: changed={report.changed}")


def run_destroy(rig: str, *, yes: bool, purge: bool) -> None:
    """Removes a rig; asks first where somebody can answer."""
    from harness.provision.provisioner import destroy

    if not yes and sys.stdin.isatty():
        answer = input(f"destroy rig '{rig}' and everything in it? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            raise UsageError("not destroyed", hint="answer y, or give --yes")
    destroy(rig, purge=purge, echo=say)
    say(f"rig '{rig}' is destroyed: nothing of it is left")


def run_status(rig: str | None, *, as_json: bool) -> None:
    """Prints each rig's hosts."""
    from harness.provision.status import status

    names = [rig] if rig else state.names()
    answers = {name: status(name) for name in names}
    if as_json:
        print(json.dumps(answers, default=str))
        return
    if not names:
        say("no rig; make one with: ./run provision")
    for name, answer in answers.items():
        say(f"rig {name}")
        for line in answer.lines():
            say(f"  {line}")
