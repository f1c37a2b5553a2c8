"""The scripts that bring the write-ahead log back to its own disk, in a folder, with a server that only pretends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.faults import disk

NAMES = tuple(f"0000000100000000000000{number:02X}" for number in range(7, 11))


def back(data: Path) -> None:
    """Runs the script on a cluster whose data lies in this folder."""
    tools = data.parent / "bin"
    tools.mkdir()
    for name, text in (("pg_lsclusters", f"echo 15 main 5432 down postgres {data} {data}/log"), ("systemctl", "true")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    path = f"{tools}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", disk._BACK], check=True, env={**os.environ, "PATH": path}, timeout=60)


def test_the_log_from_before_is_kept_until_the_server_no_longer_needs_it(tmp_path: Path) -> None:
    """A controller died after the mount: the last checkpoint lay below, was deleted, and the server never started."""
    wal, kept = tmp_path / "main" / "pg_wal", tmp_path / "main" / "pgcrucible-wal"
    for folder, written in ((wal, (NAMES[0], NAMES[1], NAMES[2])), (kept, (NAMES[1],))):
        (folder / "archive_status").mkdir(parents=True)
        for name in written:
            (folder / name).write_text(folder.name)
    (kept / "pgcrucible-ballast").touch()
    back(tmp_path / "main")
    found = {path.name: path.read_text() for path in wal.iterdir() if path.is_file()}
    assert found == {NAMES[0]: "pg_wal", NAMES[1]: "pgcrucible-wal", NAMES[2]: "pg_wal"}
    assert not kept.exists()
