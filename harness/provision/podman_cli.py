"""Podman commands outside the playbooks: lists, CPU limits, and a probe for a working OCI runtime.

Podman runs as root, through `sudo -n` for another user: a rootless engine cannot give hosts addresses that the
controller reaches.
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
from typing import TypedDict
from urllib.parse import unquote

from harness.errors import RigError

LABEL = "pgcrucible.rig"
OWNER_LABEL = "pgcrucible.owner"
"""Label with the folder of the checkout that created a container, network or volume, percent-encoded.

Podman reads the label of a volume as a line of CSV, and that of a container as it is.
"""
CATATONIT = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/libexec/catatonit/catatonit")


def run(*arguments: str, timeout_s: float = 60.0) -> str:
    """Runs podman and returns its standard output. Raises RigError with the end of its standard error."""
    command = ["podman", *arguments]
    if os.geteuid() != 0:
        command = ["sudo", "-n", *command]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=timeout_s
        )
    except FileNotFoundError as error:
        raise RigError(
            f"{error.filename} is not installed", hint="./run provision installs the packages that it needs"
        ) from None
    except subprocess.TimeoutExpired:
        raise RigError(
            f"podman {arguments[0]} did not finish within {timeout_s:g} s", hint="is the machine overloaded? try again"
        ) from None
    if done.returncode != 0:
        raise RigError(f"podman {arguments[0]}: {done.stderr.strip()[-400:] or 'no output'}")
    return done.stdout


class ContainerRecord(TypedDict):
    """The fields of `podman ps --format json` that are used here."""

    Names: list[str]
    State: str
    Labels: dict[str, str]


def containers(rig: str | None = None) -> list[ContainerRecord]:
    """Returns podman's records of the containers of one rig, or of all rigs, running or not."""
    label = LABEL if rig is None else f"{LABEL}={rig}"
    return list(json.loads(run("ps", "--all", "--filter", f"label={label}", "--format", "json") or "[]"))


def owner(record: ContainerRecord) -> str:
    """Returns the folder of the checkout that created a container, as its label says; empty without the label."""
    return unquote((record["Labels"] or {}).get(OWNER_LABEL, ""))


def labelled_rigs() -> dict[str, set[str]]:
    """Returns the owners of each rig with a container, network or volume, even without a state folder."""
    labels = [record["Labels"] for record in containers()]
    for kind, key in (("network", "labels"), ("volume", "Labels")):
        listing = json.loads(run(kind, "ls", "--filter", f"label={LABEL}", "--format", "json") or "[]")
        labels += [record[key] for record in listing]
    owners: dict[str, set[str]] = {}
    for labels_of_one in labels:
        owners.setdefault(str(labels_of_one[LABEL]), set()).add(unquote(labels_of_one.get(OWNER_LABEL, "")))
    return owners


def networks() -> list[str]:
    """Returns the subnets (CIDR) of all podman networks, of rigs or not."""
    listing = json.loads(run("network", "ls", "--format", "json") or "[]")
    return [subnet["subnet"] for record in listing for subnet in record.get("subnets") or ()]


def images() -> list[str]:
    """Returns the tags of the cached host images."""
    names = run("images", "--filter", "label=pgcrucible.image=host", "--format", "{{.Repository}}:{{.Tag}}")
    return sorted(set(names.split()))


def set_cpus(rig: str, cpus: Mapping[str, float]) -> None:
    """Limits each host (by name) to a number of cores, effective at once for running processes.

    Podman cannot remove a limit, so "no limit" is all cores of the machine.
    """

    def limit(item: tuple[str, float]) -> None:
        run("update", "--cpus", f"{item[1]:g}", f"pgcrucible-{rig}-{item[0]}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(limit, cpus.items()))


def run_among_mounts(rig: str, host: str, command: Sequence[str]) -> None:
    """Runs a command of this machine's administrator in the mount namespace of a container. Raises RigError."""
    pid = run("inspect", "--format", "{{.State.Pid}}", f"pgcrucible-{rig}-{host}").strip()
    enter = [*(["sudo", "-n"] if os.geteuid() else []), "nsenter", "--target", pid, "--mount", "--", *command]
    done = subprocess.run(enter, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=60.0)
    if done.returncode:
        raise RigError(f"{host}: `{' '.join(command)}`: {done.stderr.strip()[-400:] or 'no output'}")


def stop(rig: str, host: str) -> None:
    """Kills a host's container; returns once it has ended, also if it had."""
    run("stop", "--time", "0", f"pgcrucible-{rig}-{host}")


def start(rig: str, host: str) -> None:
    """Starts a host's container, also if it runs. Its CPU limit is not in force afterwards."""
    run("start", f"pgcrucible-{rig}-{host}")


def probe_runtime(candidates: Sequence[str]) -> tuple[str, Mapping[str, str]]:
    """Returns the first OCI runtime that starts a container here, and why each one before it did not.

    The container holds only podman's static init, so no image is needed. It is started like a host
    (`--systemd=always`), because that is what crun refuses on hybrid cgroups. Empty name: none works.
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
