"""A negative control: HAProxy sends a request again whose app host failed, also a POST that may have been applied.

The harness's own configuration never does that (playbooks/roles/haproxy). A copy of it stays beside the file until
HAProxy runs with it again, also by `./run heal` and the next bench if one is killed. Both actions can be repeated.
"""

from __future__ import annotations

from harness.errors import RigError
from harness.rig.rig import Rig
from harness.text import printable

CONTROL = "proxy-replay"
FILE = "/etc/haproxy/haproxy.cfg"
TIMEOUT_S = 30.0
_SCRIPT = """
set -eu
file=$2
kept=$file.before-replay
case $1 in
on)
  provisioned=$kept
  [ -e "$kept" ] || provisioned=$file
  sed -e 's/^\\( *\\)retry-on .*/\\1retry-on all-retryable-errors/' -e 's/^\\( *\\)retries .*/\\1retries 3/' \\
    "$provisioned" > "$file.part"
  grep -q 'retry-on all-retryable-errors' "$file.part"
  haproxy -c -q -f "$file.part"
  [ -e "$kept" ] || { cp -p "$file" "$kept.part"; mv "$kept.part" "$kept"; }
  cat "$file.part" > "$file"; rm "$file.part"
  systemctl reload haproxy ;;
off)
  rm -f "$file.part" "$kept.part"
  [ -e "$kept" ] || exit 0
  cp -p "$kept" "$file"
  systemctl reload haproxy
  rm "$kept"
  echo restored ;;
esac
"""


class ProxyReplay:
    """Changes the first load balancer. A reload makes HAProxy forget which hosts are drained."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._host, self._is_on = rig, rig.role("lb")[0], False

    def configure(self, *, replays: bool) -> None:
        """Makes HAProxy send failed requests again, or not; asks no host where that is so already. Raises RigError."""
        if replays != self._is_on:
            self._run("on" if replays else "off")
            self._is_on = replays

    def restore(self) -> bool:
        """Puts the configuration back as provisioned, also where a bench that was killed has changed it.

        Returns whether it was changed. Raises RigError.
        """
        self._is_on = False
        return bool(self._run("off").strip())

    def _run(self, action: str) -> str:
        command = ["sh", "-c", _SCRIPT, "sh", action, FILE]
        done = self._rig.at(self._host).run(command, timeout_s=TIMEOUT_S, check=False)
        if done.code:
            reason = printable(" ".join(done.stderr.split()), 300) or f"exit code {done.code}"
            raise RigError(f"{self._host.name}: HAProxy's retries were not changed: {reason}", hint="./run provision")
        return done.stdout
