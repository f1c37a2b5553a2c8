"""Makes the recipe of the hosts' root filesystem: packages, archive and tag.

The packages are exactly those of the roles' defaults, so the roles' package tasks change nothing on hosts made from the
image. The tag contains a hash of all inputs: the same recipe is built once, and a changed role default builds a new
image.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.provision.yaml_file import read_yaml
from harness.rig.state import CACHE, PLAYBOOKS

SUITE = "bookworm"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
BASE = ("openssh-server", "python3", "sudo", "systemd", "systemd-sysv")
"""The packages that Ansible needs to reach a Debian host; the roles' packages are added."""

_APT_SETTING = re.compile(r'^Acquire::(?:https?::|Check-|Retries)[^"]* "[^"]+";$')


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The inputs of an image. `tag` is its name in podman, `folder` contains the files for build.sh."""

    tag: str
    folder: Path
    packages: tuple[str, ...]


def role_defaults(roles: Path) -> dict[str, object]:
    """Returns all variables of all roles' defaults/main.yml."""
    merged: dict[str, object] = {}
    for path in sorted(roles.glob("*/defaults/main.yml")):
        merged |= read_yaml(path) or {}
    return merged


def role_packages(roles: Path) -> tuple[str, ...]:
    """Returns the packages of all roles (`<role>_packages`), sorted. Raises UsageError for an invalid name."""
    packages = set(BASE)
    for path in sorted(roles.glob("*/defaults/main.yml")):
        name = f"{path.parent.parent.name}_packages"
        for package in (read_yaml(path) or {}).get(name) or []:
            if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", str(package)):
                raise UsageError(f"{path}: {name}: '{package}' is not a package name")
            packages.add(package)
    return tuple(sorted(packages))


def debian_sources(files: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the Debian 12 archive as this machine reaches it, as one-line apt sources.

    `files` are apt's source files by name. Uses mirrors of Debian's archive only; the hosts do not have the keys of
    other repositories. Raises UsageError if there is none.
    """
    sources: list[str] = []
    for name, text in sorted(files.items()):
        entries = _stanzas(text) if name.endswith(".sources") else _one_line(text)
        for uri, suite, components in entries:
            archive = re.search(r"/(debian(?:-security)?)/?$", uri)
            if archive and suite.split("/")[0].split("-")[0] == SUITE and "main" in components:
                sources.append(f"deb [signed-by={KEYRING}] {uri} {suite} main")
    if not sources:
        raise UsageError(
            f"apt on this machine has no archive of Debian's {SUITE}, from which the hosts are made",
            hint=f"add one with suite {SUITE} to /etc/apt/sources.list.d, then run ./run provision again",
        )
    return tuple(dict.fromkeys(sources))


def _one_line(text: str) -> Iterable[tuple[str, str, list[str]]]:
    for line in text.splitlines():
        match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.split("#")[0].strip())
        if match:
            yield match[1], match[2], match[3].split()


def _stanzas(text: str) -> Iterable[tuple[str, str, list[str]]]:
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", kept):
        fields = {
            key.lower(): value.split()
            for key, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        for uri in fields.get("uris", []):
            for suite in fields.get("suites", []):
                yield uri, suite, fields.get("components", [])


def apt_settings(dump: str) -> tuple[str, ...]:
    """Returns the lines of `apt-config dump` about access to the archive: proxies, time-outs, checks."""
    return tuple(line for line in dump.splitlines() if _APT_SETTING.match(line))


KEPT = 10
"""How many recipes stay in the cache: each change of packages, sources or authorities makes one."""


def prepare(
    roles: Path,
    *,
    packages: Iterable[str] = (),
    scripts: Path | None = None,
    etc: Path = Path("/etc"),
    local: Path = Path("/usr/local"),
) -> Recipe:
    """Writes the recipe's folder (.cache/image-<hash>/) and returns the recipe; removes all but the newest folders.

    `packages` are added to the roles'; the files of the folder `scripts` are hashed as well as images/container/.
    """
    apt = etc / "apt"
    files = {
        path.name: path.read_text(errors="replace")
        for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.*")))
        if path.is_file() and path.suffix in (".list", ".sources")
    }
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False, timeout=30).stdout
    except (FileNotFoundError, subprocess.TimeoutExpired):
        dump = ""
    wanted = tuple(sorted({*role_packages(roles), *packages}))
    parts = {
        "packages": "\n".join(wanted) + "\n",
        "sources.list": "\n".join(debian_sources(files)) + "\n",
        "apt.conf": "".join(f"{line}\n" for line in apt_settings(dump)),
    }
    authorities = sorted((local / "share/ca-certificates").rglob("*.crt"))
    digest = hashlib.sha256(platform.machine().encode())
    for path in [p for place in (PLAYBOOKS / "images/container", scripts) if place for p in sorted(place.iterdir())]:
        digest.update(path.name.encode() + path.read_bytes())
    for name, text in sorted(parts.items()):
        digest.update(name.encode() + text.encode())
    for path in authorities:
        digest.update(path.read_bytes())
    folder = CACHE / f"image-{digest.hexdigest()[:12]}"
    (folder / "ca").mkdir(parents=True, exist_ok=True)
    for name, text in parts.items():
        (folder / name).write_text(text)
    for path in authorities:
        shutil.copy(path, folder / "ca" / path.name)
    os.utime(folder)  # the newest, also where it was there already
    for old in sorted(CACHE.glob("image-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return Recipe(tag=f"localhost/pgcrucible-host:{digest.hexdigest()[:12]}", folder=folder, packages=wanted)
