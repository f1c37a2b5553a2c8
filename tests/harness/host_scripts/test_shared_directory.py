"""Whether hosts can share a SQLite file in a directory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.backends import filesystem as service
from harness.host_scripts import shared_directory
from harness.host_scripts.shared_directory import why_not
from tests.app.test_filesystem import MOUNTINFO


def probe(*arguments: str) -> dict[str, Any]:
    """Runs the module as text, as on a host."""
    done = subprocess.run(
        [sys.executable, "-", *arguments],
        input=Path(shared_directory.__file__).read_text(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    known: dict[str, Any] = json.loads(done.stdout)
    return known


def test_a_token_is_seen_until_it_is_removed(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert probe(directory, "a", "look")["seen"] is False
    left = probe(directory, "a", "leave")
    assert left["seen"]
    assert probe(directory, "a", "look") == left
    assert probe(directory, "b", "look")["seen"] is False
    assert why_not(directory, {"app-1": left, "app-2": probe(directory, "a", "look")}) == ""
    probe(directory, "a", "remove")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    known = probe(str(tmp_path / "none"), "a", "leave")
    assert "app-1 cannot use" in why_not("/srv", {"app-1": known})
    assert "FileNotFoundError" in known["error"]


GOOD = {"type": "ext4", "kernel": "k", "seen": True}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({}, ""),
        ({"type": "nfs4"}, "/srv is on nfs4 on app-2"),
        ({"type": "virtiofs", "seen": False}, "/srv is on virtiofs on app-2"),
        ({"seen": False, "kernel": "l"}, "app-2 does not see what app-1 writes to /srv"),
        ({"kernel": "l"}, "run on 2 kernels"),
        ({"error": "PermissionError"}, "app-2 cannot use /srv: PermissionError"),
    ],
)
def test_why_hosts_cannot_share_a_directory(other: Mapping[str, Any], reason: str) -> None:
    message = why_not("/srv", {"app-1": GOOD, "app-2": GOOD | other, "app-3": GOOD})
    assert reason in message
    assert bool(message) == bool(reason)


def test_harness_and_service_refuse_the_same_filesystems() -> None:
    assert shared_directory.NETWORK.pattern == service.NETWORK.pattern
    for path in ("/var/lib", "/srv", "/srv/nfs/a/b", "/srv/nfs-not", "/with space/x", "/over/x"):
        assert shared_directory.mounted_type(Path(path), MOUNTINFO) == service.mounted_type(Path(path), MOUNTINFO) != ""
