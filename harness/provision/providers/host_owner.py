"""The owner of an existing machine: one rig of one checkout, written down on the machine itself.

Two checkouts that provision the same machines would replace each other's passwords and database. The file `owner` in
the settings directory of the roles prevents that; it goes with that directory when the rig is destroyed.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from functools import partial

from harness.errors import RigError
from harness.model import Host
from harness.rig import state
from harness.rig.ssh import SshConnection
from harness.rig.state import RigState

_OTHERS = """
if [ -e "$1/owner" ]; then exit; fi
home=$(getent passwd "$3" | cut -d : -f 6)
if [ "$home" = "$2" ]; then exit; fi # an earlier version, which left no file, has installed this
if [ -n "$home" ]; then echo "the user $3"; fi
for place in "$1" "$2"; do
    if [ -e "$place" ] && [ -n "$(ls -A "$place")" ]; then echo "$place"; fi
done
"""
"""Prints what was there before the rig, under names by which a destroy would remove it."""
_READ = '[ ! -e "$1/owner" ] || cat "$1/owner"'
_CLAIM = """
set -eu
mkdir -p "$1"
new=$(mktemp "$1/.owner.XXXXXX")
printf '%s\\n' "$2" > "$new"
ln "$new" "$1/owner" 2> /dev/null || true # atomic: of two rigs only one gets the machine
rm "$new"
cat "$1/owner"
"""


def claim(rig: RigState, each: Callable[[tuple[Host, ...], Callable[[SshConnection], str]], Mapping[str, str]]) -> None:
    """Writes the owner on each host of the rig. Changes none, and raises RigError, if a host belongs to another rig.

    That is also so if a directory or the user of the rig exists, but no rig has made it.

    `each` runs a function on all hosts and returns the results by host name.
    """
    variables = rig.variables
    names = [str(variables[name]) for name in ("common_settings_directory", "common_directory", "common_user")]
    existing = each(rig.hosts, lambda connection: connection.run(["sh", "-c", _OTHERS, "sh", *names]).stdout)
    for host, printed in existing.items():
        if printed.strip():
            raise RigError(
                f"{host}: {' and '.join(printed.splitlines())} exists and is not of a rig; a destroy would remove it",
                hint="choose other names: common_directory, common_settings_directory, common_user",
            )
    record = json.dumps(_own(rig))
    for script in (_READ, _CLAIM):
        foreign = each(rig.hosts, partial(_run, rig=rig, script=script, record=record))
        for host, owner in foreign.items():
            if owner:
                raise RigError(
                    f"{host} belongs to {owner}",
                    hint="use other machines; or destroy that rig; or, if you own both: "
                    f"./run destroy --rig {rig.name} --take-over",
                )


def read(rig: RigState, connection: SshConnection) -> str:
    """Returns the other rig that the host belongs to, as text, or an empty string."""
    return _run(connection, rig=rig, script=_READ, record="")


def _run(connection: SshConnection, *, rig: RigState, script: str, record: str) -> str:
    settings = str(rig.variables["common_settings_directory"])
    text = connection.run(["sh", "-c", script, "sh", settings, record]).stdout.strip()
    return _foreign(_own(rig), text) if text else ""


def _own(rig: RigState) -> dict[str, str]:
    """Returns the record of this rig. The token goes with the rig's state, also to another folder or controller."""
    token = hashlib.sha256(b"owner " + state.read_secrets(rig.name)["harness_password"].encode()).hexdigest()[:32]
    return {"controller": platform.node(), "checkout": state.OWNER, "rig": rig.name, "token": token}


def _foreign(own: Mapping[str, str], text: str) -> str:
    try:
        other: dict[str, object] = json.loads(text)
        place = {key: str(other[key]) for key in ("controller", "checkout", "rig")}
        token = other["token"]
    except (ValueError, TypeError, LookupError):
        return "an unknown rig: its file 'owner' is damaged"
    if token == own["token"] or all(place[key] == own[key] for key in place):
        return ""
    return f"the rig {place['rig']!r} of the checkout in {place['checkout']!r} on {place['controller']!r}"
