"""Revisions of the service beside the provisioned one on a rig's app hosts, and what makes systemd start one of them.

Each has its folder under `revisions/`, and its own virtual environment where its packages differ. A drop-in of the
service's unit below /run selects one: without it, after `restore` and after a reboot, the service runs as provisioned.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Sequence

from harness.errors import RigError
from harness.model import Host
from harness.provision.revision import DROP_IN, REMOVE_CONTROLS, RevisionBundle, build_revision, entry
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection
from harness.text import printable

KEPT = 6
"""Revisions that stay on a host, with those in use."""
UPLOAD_S = 180.0

_HAS = """
import json, platform, sys
from pathlib import Path
home, revisions = Path(sys.argv[1]), sys.argv[2:]
def text(path):
    return path.read_text().strip() if path.exists() else ""
print(json.dumps({
    "python": ".".join(platform.python_version_tuple()[:2]),
    "machine": platform.machine(),
    "packages": text(home / "venv/stamp.env").removeprefix("WHEELS_HASH="),
    "revisions": {revision: text(home / "revisions" / revision / "complete") for revision in revisions},
}))
"""
"""Prints what a host has. Arguments: the folder of the rig's code and names of revisions."""

_BEGIN = """
set -eu
umask 022
mkdir -p "$1/revisions"
cd "$1/revisions"
rm -rf ".$2"
mkdir -p ".$2/code"
[ "$3" = "" ] || python3 -m venv --without-pip ".$2/venv"
"""
"""Begins a revision, which has its own packages if the third argument is not empty. Arguments: the folder, the
revision."""
_UNPACK = """
umask 022
base64 -d | tar -xzf - -C "$1"/$2
"""
"""Unpacks a tar file in base64. Arguments: a folder and a pattern below it, which matches one folder."""
_FINISH = """
set -eu
cd "$1/revisions"
echo "CODE_HASH=$2" > ".$2/code/stamp.env"
echo "$3" > ".$2/complete"
rm -rf "$2"
mv ".$2" "$2"
"""
"""Makes an unpacked revision usable. Arguments: the folder, the revision, what it contains."""

_PRUNE = """
cd "$1/revisions" 2> /dev/null || exit 0
shift
rm -rf .[!.]*
kept=$1
shift
for used in "$@"; do touch "$used"; done
ls -1t | tail -n "+$((kept + 1))" | xargs -r rm -rf --
"""
"""Arguments: the folder, how many to keep, the revisions in use."""

_FOLDERS = """
expected=$(readlink -f "$3")
for worker in $(seq "$1"); do
  pid=$(systemctl show --property MainPID --value "pgcrucible-app@$worker.service")
  folder=$(runuser -u "$2" -- readlink "/proc/$pid/cwd")
  [ "$folder" != "$expected" ] || folder=$3
  echo "$folder $(tr '\\0' ' ' < "/proc/$pid/cmdline")"
done
"""
"""Prints for each worker the folder that it runs in, and its command. Arguments: the number of workers; their user, who
may read it; root in a container may not; the expected folder, whose path may have symbolic links."""

_LAST_LINE = """
for worker in $(seq "$1"); do
  journalctl --quiet --output cat --since -2min _TRANSPORT=stdout "_SYSTEMD_UNIT=pgcrucible-app@$worker.service" |
    tail -n 1
done
"""
"""Prints the last line that each worker wrote, not systemd about it."""

_IS_LOADED = '[ "$(systemctl show --property NeedDaemonReload --value pgcrucible-app@1.service)" = no ]'
"""Whether systemd has read the unit's files as they are now."""


class AppRevisions:
    """The revisions of one bench. A revision is named by `harness.provision.revision.resolve`; "" is the provisioned
    code."""

    def __init__(self, rig: Rig, hosts: Sequence[Host], workers: int) -> None:
        self._rig, self._hosts, self._per_host = rig, hosts, workers
        self._home = str(rig.variables["common_directory"])
        self._first_port = int(rig.variables["app_port"])
        self._own_packages: dict[tuple[str, str], bool] = {}
        """(host, revision) -> whether it has its own virtual environment."""

    def deploy(self, revisions: Sequence[str]) -> list[str]:
        """Puts the revisions on every app host and removes old ones; returns in what they do not fit this checkout.

        Raises RigError for a revision that cannot be deployed.
        """
        notes: dict[str, None] = {}
        command = ["python3", "-", self._home, *revisions]
        has = self._rig.each(self._hosts, lambda host: json.loads(host.run(command, stdin=_HAS).stdout))
        for revision in revisions:
            bundles = {
                name: build_revision(
                    revision, python=facts["python"], machine=facts["machine"], installed=facts["packages"]
                )
                for name, facts in has.items()
            }
            wanted = {name: f"{bundle.code.name} {_packages(bundle)}" for name, bundle in bundles.items()}
            missing = [host for host in self._hosts if has[host.name]["revisions"][revision] != wanted[host.name]]

            def unpack(host: SshConnection, bundles: dict[str, RevisionBundle] = bundles) -> None:
                _unpack(host, self._home, bundles[host.name])

            self._rig.each(missing, unpack)
            for name, bundle in bundles.items():
                self._own_packages[name, revision] = bundle.wheels is not None
                notes |= dict.fromkeys(bundle.notes)
        prune = ["sh", "-c", _PRUNE, "sh", self._home, str(max(KEPT, len(revisions))), *revisions]
        self._rig.each(self._hosts, lambda host: host.run(prune))
        return list(notes)

    def remove_controls(self, hosts: Sequence[Host]) -> None:
        """Removes the negative controls from hosts that run as provisioned."""
        self._own_packages = {key: own for key, own in self._own_packages.items() if entry(key[1]) == "app"}
        self._rig.each(hosts, lambda host: host.run(["sh", "-c", REMOVE_CONTROLS, "sh", self._home]))

    def selection(self, host: str, revision: str) -> str:
        """Returns the shell command that makes systemd select the revision at the service's next start."""
        if not revision:
            return f"rm -f {DROP_IN} && {{ {_IS_LOADED} || systemctl daemon-reload; }}"
        text = shlex.quote(self.drop_in(host, revision))
        return (
            f"mkdir -p {DROP_IN.rpartition('/')[0]} && printf %s {text} > {DROP_IN}.part && mv {DROP_IN}.part {DROP_IN}"
            " && systemctl daemon-reload"
        )

    def drop_in(self, host: str, revision: str) -> str:
        """Returns the content of the drop-in that makes a host's service run a deployed revision."""
        folder = f"{self._home}/revisions/{revision}"
        lines = [
            f"# {revision}",
            "# Written by a bench of pgcrucible, which removes it at its end.",
            "[Service]",
            f"WorkingDirectory={folder}/code",
            f"Environment=PYTHONPATH={folder}/code",
            f"EnvironmentFile={folder}/code/stamp.env",
        ]
        if self._own_packages[host, revision] or entry(revision) != "app":
            command = f"PORT=$$(({self._first_port} - 1 + %i)) exec {self._command(host, revision)}"
            lines += ["ExecStart=", f"ExecStart=/bin/sh -c '{command}'"]
        return "\n".join(lines) + "\n"

    def require_running(self, hosts: Sequence[Host], revision: str) -> None:
        """Raises RigError unless each worker runs the revision's command, with its packages, in its folder."""
        for name, reason in self.elsewhere(hosts, revision).items():
            raise RigError(f"{name}: {reason}", hint=f"./run provision --rig {self._rig.name}")

    def elsewhere(self, hosts: Sequence[Host], revision: str) -> dict[str, str]:
        """Returns the hosts with a worker whose process does not run the revision, each with what it runs."""
        folder = f"{self._home}/revisions/{revision}/code" if revision else f"{self._home}/code"
        command = ["sh", "-c", _FOLDERS, "sh", str(self._per_host), str(self._rig.variables["common_user"]), folder]
        reasons = {}
        printed = self._rig.each(hosts, lambda host: host.run(command).stdout.splitlines())
        for name, printed_lines in printed.items():
            lines = [line.rstrip() for line in printed_lines]
            expected = f"{folder} {self._command(name, revision)}"
            if wrong := [line for line in lines if line != expected] or [""][len(lines) == self._per_host :]:
                where = wrong[0].strip() or "an unknown folder"
                reasons[name] = f"the service runs in {where}, expected {expected}"
        return reasons

    def last_log_line(self, hosts: Sequence[Host]) -> str:
        """Returns the last line that the service of these hosts wrote, `; app-1: …`, or empty."""
        command = ["sh", "-c", _LAST_LINE, "sh", str(self._per_host)]
        for name, text in self._rig.each(hosts, lambda host: host.run(command, check=False).stdout).items():
            if lines := text.strip().splitlines():
                return f"; {name}: {printable(lines[-1], 300)}"
        return ""

    def has(self, revision: str) -> bool:
        """Returns whether this bench has deployed the revision."""
        return all((host.name, revision) in self._own_packages for host in self._hosts)

    def _command(self, host: str, revision: str) -> str:
        own = revision and self._own_packages[host, revision]
        python = f"{self._home}/revisions/{revision}/venv/bin/python" if own else f"{self._home}/venv/bin/python"
        return f"{python} -m {entry(revision)}"


def _packages(bundle: RevisionBundle) -> str:
    return bundle.wheels_hash if bundle.wheels else "provisioned"


def _unpack(host: SshConnection, home: str, bundle: RevisionBundle) -> None:
    """Puts a revision on a host, whole or not at all."""
    folder = f"{home}/revisions/.{bundle.revision}"
    trees = {"code": bundle.code} | ({"venv/lib/python3*/site-packages": bundle.wheels} if bundle.wheels else {})
    host.run(["sh", "-c", _BEGIN, "sh", home, bundle.revision, "own" if bundle.wheels else ""])
    for into, archive in trees.items():
        text = base64.b64encode(archive.read_bytes()).decode()
        host.run(["bash", "-o", "pipefail", "-c", _UNPACK, "bash", folder, into], stdin=text, timeout_s=UPLOAD_S)
    contains = f"{bundle.code.name} {_packages(bundle)}"
    host.run(["sh", "-c", _FINISH, "sh", home, bundle.revision, contains])
