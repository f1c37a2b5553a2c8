"""Podman as the harness needs it besides the plays: what there is, which runtime works, who may use how much.

Podman runs as root (a rootless engine cannot give hosts addresses that the controller reaches), through
`sudo -n` where the user is not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.errors import RigError

LABEL = "pgcrucible.rig"
CATATONIT = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/libexec/catatonit/catatonit")


def run(*arguments: str, timeout_s: float = 60.0) -> str:
    """What podman prints. Raises RigError with podman's last words."""
    command = ["podman", *arguments]
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    except FileNotFoundError as error:
        raise RigError(f"{error.filename} is missing", hint="./run provision installs what it needs") from None
    except subprocess.TimeoutExpired:
        raise RigError(f"podman {arguments[0]} did not end within {timeout_s:g} s") from None
    if done.returncode != 0:
        raise RigError(f"podman {arguments[0]}: {done.stderr.strip()[-400:] or 'no message'}")
    return done.stdout


def containers(rig: str | None = None) -> list[dict[str, Any]]:
    """Our containers (of one rig, or of all), running or not, as podman's records."""
    which = LABEL if rig is None else f"{LABEL}={rig}"
    return list(json.loads(run("ps", "--all", "--filter", f"label={which}", "--format", "json") or "[]"))


def labelled_rigs() -> set[str]:
    """Names of all rigs that podman has something of, with or without a state folder."""
    found = {str(record["Labels"][LABEL]) for record in containers()}
    for kind, labels in (("network", "labels"), ("volume", "Labels")):
        listing = json.loads(run(kind, "ls", "--filter", f"label={LABEL}", "--format", "json") or "[]")
        found |= {str(record[labels][LABEL]) for record in listing}
    return found


def networks() -> list[str]:
    """The subnets (CIDR) of all podman networks, ours and others'."""
    listing = json.loads(run("network", "ls", "--format", "json") or "[]")
    return [subnet["subnet"] for record in listing for subnet in record.get("subnets") or ()]


def images() -> list[str]:
    """Tags of the hosts' images that are cached."""
    names = run("images", "--filter", "label=pgcrucible.image=host", "--format", "{{.Repository}}:{{.Tag}}")
    return sorted(set(names.split()))


def set_cpus(rig: str, cpus: Mapping[str, float]) -> None:
    """Caps each host (by name) to so many cores, at once and for running processes too.

    Podman cannot take a cap away again, so "no cap" is all the machine's cores.
    """

    def cap(item: tuple[str, float]) -> None:
        run("update", "--cpus", f"{item[1]:g}", f"pgcrucible-{rig}-{item[0]}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cap, cpus.items()))


def probe_runtime(candidates: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """The first OCI runtime that really starts a container here, and why those before it did not.

    The container holds nothing but podman's own static init, so no image is needed; it is started as our
    hosts are (`--systemd=always`), which is what crun refuses on hybrid cgroups. Empty name: none works.
    """
    refused: dict[str, str] = {}
    init = next((path for path in CATATONIT if Path(path).exists()), None)
    if init is None:
        return "", {"catatonit": "not installed"}
    for runtime in candidates:
        if shutil.which(runtime) is None and not Path("/usr/sbin", runtime).exists():
            refused[runtime] = "not installed"
            continue
        with tempfile.TemporaryDirectory(prefix="pgcrucible-probe-") as root:
            shutil.copy(init, Path(root, "init"))
            for mount_point in ("dev", "proc", "sys", "run", "tmp", "etc", "var/log"):
                Path(root, mount_point).mkdir(parents=True)
            try:
                run(
                    *("--runtime", runtime, "run", "--rm", "--network", "none", "--systemd=always"),
                    *("--log-driver", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
                    *("--label", f"{LABEL}=probe", "--rootfs", root, "/init", "--version"),
                )
            except RigError as error:
                refused[runtime] = error.message.splitlines()[-1]
            else:
                return runtime, refused
    return "", refused
