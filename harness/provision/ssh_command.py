"""The command line of OpenSSH for a host of a rig: its key, its recorded host keys, its jump host."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.model import Host
from harness.provision.path_quoting import ssh_setting
from harness.rig.rig import Rig

CONNECT_S = 15
ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=4")
"""A host that answers nothing for a minute ends the connection."""
FAILED = 255
"""Exit code of ssh itself, where the connection failed; any other is that of the remote command."""


def ssh_command(rig: Rig, host: Host, command: Sequence[str] = (), *, tty: bool = False) -> list[str]:
    """Returns the words that run `command` on the host, or a shell without one.

    `tty`: the command gets a terminal. A host whose key is not the recorded one is refused.
    """
    options = _options(rig, host)
    words = ["ssh", *options, "-p", str(host.ssh_port), "-l", host.ssh_user]
    if host.jump:
        words += ["-o", f"ProxyCommand={_proxy(host.jump, options)}"]
    words += ["-t"] if tty else []
    return [*words, "--", host.ssh_address, *([shlex.join(command)] if command else [])]


def as_root(host: Host, command: Sequence[str]) -> list[str]:
    """Returns the command as root runs it; another user needs sudo without a password."""
    return [*command] if host.ssh_user == "root" else ["sudo", "-n", "--", *command]


def _options(rig: Rig, host: Host) -> list[str]:
    key = Path(host.ssh_key).expanduser() if host.ssh_key else rig.key
    known = Path(host.known_hosts).expanduser() if host.known_hosts else rig.known_hosts
    settings = ["StrictHostKeyChecking=yes", f"ConnectTimeout={CONNECT_S}", "LogLevel=ERROR", *ALIVE]
    settings += [ssh_setting("IdentityFile", key), "IdentitiesOnly=yes"] if key else []
    settings += [ssh_setting("UserKnownHostsFile", known)] if known else []
    return [word for setting in settings for word in ("-o", setting)]


def _proxy(jump: str, options: Sequence[str]) -> str:
    """Returns the ProxyCommand: `jump` is one if it has blanks, else the jump host, which has the same options."""
    if " " in jump:
        return jump
    login, _, port = jump.partition(":") if jump.count(":") == 1 else (jump, "", "")
    own = [word.replace("%", "%%") for word in options]  # ssh expands the whole command once more
    return shlex.join(["ssh", *own, "-p", port or "22"]) + f" -W '[%h]:%p' -- {shlex.quote(login)}"
