"""Programs that tests need, from Debian's packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from harness.provision import doctor, qemu

SHELLS = ("zsh", "fish")
"""The shells whose completion is tested, beside bash."""


def install(packages: Collection[str]) -> None:
    """Installs packages where apt needs no password; the tests that need one that is missing fail or name it."""
    if not packages:
        return
    apt = ["apt-get"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get"]
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        with contextlib.suppress(OSError):
            subprocess.run(
                [*apt, *arguments], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=False,
                stdout=subprocess.DEVNULL, timeout=600,
            )  # fmt: skip


def missing(*, rigs: bool) -> set[str]:
    """Returns the packages of the tests that are not installed; `rigs`: of those that build a rig too."""
    packages = {name for name in ("chromium", *SHELLS) if shutil.which(name) is None}
    if rigs:
        cgroup = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
        packages |= {*doctor.missing_packages(cgroup), *qemu.missing_packages(own_base=True)}
    return packages
