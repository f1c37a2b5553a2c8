"""Tests of this folder need containers or virtual machines: the folder decides their markers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.rig.rig import Rig

FOLDER = Path(__file__).parent
BOOT_MACHINES = {"test_vm.py", "test_qemu.py"}
"""Files whose tests need QEMU; the others need Podman."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test of this folder as slow and as `vm` or `rig`."""
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker("vm" if item.path.name in BOOT_MACHINES else "rig")
            item.add_marker("slow")


def on(hosts: Rig, host: str, script: str, *arguments: str, **variables: object) -> Any:
    """Runs a Python script as root on the host, with these variables, and returns the JSON that it prints."""
    given = "".join(f"{name} = {value!r}\n" for name, value in variables.items())
    return json.loads(hosts.at(host).run(["python3", "-", *arguments], stdin=given + script).stdout)
