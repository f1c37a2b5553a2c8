"""Tests of this folder need containers or virtual machines: the folder decides their markers."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
BOOT_MACHINES = {"test_vm.py", "test_qemu.py"}
"""Files whose tests need QEMU; the others need Podman."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test of this folder as slow and as `vm` or `rig`."""
    for item in items:
        if item.path.parent == FOLDER:
            item.add_marker("vm" if item.path.name in BOOT_MACHINES else "rig")
            item.add_marker("slow")
