"""The task pgadmin: starts and ends a pgAdmin for a rig, and prints how to log in."""

from __future__ import annotations

import sys

from harness.cli.console import complain, say
from harness.cli.live import live_lines
from harness.errors import UsageError
from harness.plan.option_values import whole
from harness.provision.pgadmin import server
from harness.provision.pgadmin.files import LOGIN
from harness.rig.rig import existing_rig


def run_pgadmin(rig: str, *, port: str | None, stop: bool) -> None:
    """Starts pgAdmin in the background, or ends it; prints its address and, on a terminal, a password just made."""
    if stop:
        if port is not None:
            raise UsageError("--stop takes no --port", hint=f"./run pgadmin --rig {rig} --stop")
        _stop(rig)
        return
    with live_lines(f"pgAdmin of rig {rig}") as echo:
        started = server.start(rig, port=whole("port", port, 1, 65_535), echo=echo)
    say(f"pgAdmin of rig '{rig}' {'runs already' if started.ran_before else 'runs'}: {started.url}")
    shown = started.password if started.password and sys.stdout.isatty() else ""
    password = f"{shown} (stored in {started.password_file})" if shown else f"in {started.password_file}"
    say(f"login: {LOGIN}   password: {password}")
    if started.problem:
        complain(f"warning: pgAdmin cannot reach the rig's database yet: {started.problem}")
        complain(f"hint: ./run status --rig {rig}; pgAdmin can connect once the database host is up again")
    say(f"end it before you measure: ./run pgadmin --rig {rig} --stop")


def _stop(rig: str) -> None:
    if server.stop(rig):
        say(f"pgAdmin of rig '{rig}' has ended; its data stay until ./run destroy")
        return
    existing_rig(rig).close()
    say(f"pgAdmin of rig '{rig}' does not run")
