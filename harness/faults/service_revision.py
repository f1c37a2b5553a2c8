"""The revision of the service that an app host was made to run for a trial, where a bench that was killed left it.

systemd must not see the drop-in when it restarts the service. The file gets another name before, which systemd does
not read, and is removed once the restart has succeeded: one that failed is tried again.
"""

from __future__ import annotations

from harness.model import Host
from harness.provision.revision import DROP_IN, REMOVE_CONTROLS
from harness.rig.rig import Rig

RESTART_S = 60.0
"""Longest restart: the service has 40 s to answer its requests (TimeoutStopSec)."""
_SCRIPT = f"""
set -eu
deselected=$2.deselected
[ ! -e "$2" ] || mv "$2" "$deselected"
[ -e "$deselected" ] || exit 0
name=$(sed -n '1s/^# //p' "$deselected")
systemctl daemon-reload
systemctl restart pgcrucible-app.target
{REMOVE_CONTROLS}
rm -f "$deselected"
echo "${{name:-an unknown revision}}"
"""


def remove(rig: Rig, host: Host) -> str:
    """Restarts an app host's service as provisioned if it is not; returns which revision was selected, else "".

    Raises RigError.
    """
    command = ["sh", "-c", _SCRIPT, "sh", str(rig.variables["common_directory"]), DROP_IN]
    return rig.at(host).run(command, timeout_s=RESTART_S).stdout.strip()
