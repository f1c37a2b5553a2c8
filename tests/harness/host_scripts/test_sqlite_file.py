"""The shared SQLite file as it is read after each trial: intact, damaged and locked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from harness.host_scripts import sqlite_file

PAGE = 4096


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of many pages, with the service's tables."""
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE counters (key TEXT PRIMARY KEY, value INTEGER)")
    connection.execute("CREATE TABLE data (content TEXT)")
    connection.execute("CREATE TABLE ledger (id TEXT PRIMARY KEY, key TEXT, value INTEGER)")
    connection.executemany("INSERT INTO counters VALUES (?, ?)", [(f"key-{n:0100}", n) for n in range(2000)])
    connection.execute("INSERT INTO ledger VALUES ('i1', 'a', 7)")
    connection.commit()
    connection.close()
    return path


def damage(path: Path, start: int, text: bytes) -> None:
    with path.open("r+b") as opened:
        opened.seek(start)
        opened.write(text)


def test_an_intact_file_is_read_and_emptied(file: Path) -> None:
    content = sqlite_file.main(str(file), "read")
    assert (len(content["counters"]), content["ledger"], content["integrity"]) == (2000, {"i1": ["a", 7]}, ["ok"])
    assert sqlite_file.main(str(file), "empty") == {"not_done": []}
    assert sqlite_file.main(str(file), "read") == {"counters": {}, "ledger": {}, "integrity": ["ok"]}


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (0, b"not a database, whatever its name says".ljust(100)),
        (8 * PAGE, b"\xa5" * 40 * PAGE),
        (1 * PAGE, b"\0" * 8 * PAGE),
        (100, b"\xff" * (PAGE - 100)),
    ],
    ids=["header", "middle", "zeros", "schema"],
)
def test_a_damaged_file_is_a_result_with_the_errors(file: Path, start: int, text: bytes) -> None:
    damage(file, start, text)
    done = subprocess.run(
        [sys.executable, "-", str(file), "read"],
        input=Path(sqlite_file.__file__).read_text(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    integrity = json.loads(done.stdout)["integrity"]
    assert integrity
    assert "ok" not in integrity


def test_a_missing_table_is_damage(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("DROP TABLE counters")
    connection.close()
    assert sqlite_file.main(str(file), "read")["integrity"] == ["no such table: counters"]


def test_a_damaged_file_is_not_emptied(file: Path) -> None:
    damage(file, 0, b"not a database, whatever its name says".ljust(100))
    assert sqlite_file.main(str(file), "empty")["integrity"] == ["file is not a database"]


def test_a_locked_file_is_not_reported_as_damaged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options | {"timeout": 0}))
    other = connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite_file.main(str(file), "read")
    finally:
        other.close()


def test_an_emptied_file_is_packed_and_its_log_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        for table in ("counters", "data", "ledger"):
            other.execute(f"CREATE TABLE {table} (key TEXT, value INTEGER)")
        other.executemany("INSERT INTO data VALUES (?, 1)", [("x" * 1000,)] * 500)
        other.commit()
        large, log = path.stat().st_size, tmp_path / "shared.db-wal"
        assert log.stat().st_size > 0
        assert sqlite_file.main(str(path), "empty") == {"not_done": []}
        assert log.stat().st_size == 0
        assert path.stat().st_size < max(large, 100_000)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM data").fetchone()
        (message,) = sqlite_file.main(str(path), "empty")["not_done"]
    assert "was not" in message
