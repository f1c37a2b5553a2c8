"""The revision of the service that an app host was made to run for a trial, where a bench that was killed left it."""

from __future__ import annotations

from harness.model import Host
from harness.provision.revision import DROP_IN, REMOVE_CONTROLS
from harness.rig.rig import Rig

RESTART_S = 60.0
"""Longest restart: the service has 40 s to answer its requests (TimeoutStopSec)."""
_SCRIPT = f"""
set -eu
[ -e "$2" ] || exit 0
name=$(sed -n '1s/^# //p' "$2")
rm -f "$2"
systemctl daemon-reload
systemctl restart pgcrucible-app.target
{REMOVE_CONTROLS}
echo "${{name:-an unknown revision}}"
"""


def remove(rig: Rig, host: Host) -> str:
    """Restarts an app host's service as provisioned if it is not; returns which revision was selected, else "".

    Raises RigError.
    """
    command = ["sh", "-c", _SCRIPT, "sh", str(rig.variables["common_directory"]), DROP_IN]
    return rig.at(host).run(command, timeout_s=RESTART_S).stdout.strip()
