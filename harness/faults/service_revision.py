"""The revision of the service that an app host was made to run for a trial, where a bench that was killed left it."""

from __future__ import annotations

from harness.provision.revision import DROP_IN
from harness.rig.ssh import SshConnection

RESTART_S = 60.0
"""Longest restart: the service has 40 s to answer its requests (TimeoutStopSec)."""
_SCRIPT = """
set -eu
[ -e "$1" ] || exit 0
name=$(sed -n '1s/^# //p' "$1")
rm -f "$1"
systemctl daemon-reload
systemctl restart pgcrucible-app.target
echo "${name:-an unknown revision}"
"""


def remove(host: SshConnection) -> str:
    """Restarts an app host's service as provisioned if it is not; returns which revision was selected, else "".

    Raises RigError.
    """
    return host.run(["sh", "-c", _SCRIPT, "sh", DROP_IN], timeout_s=RESTART_S).stdout.strip()
