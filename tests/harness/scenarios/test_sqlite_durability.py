"""Durability of SQLite and of PostgreSQL: acknowledged writes, the file, the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.records import cell, check, increments, sqlite_evidence, wrong

NAME = "sqlite-vs-postgres"


def test_no_acknowledged_write_is_lost_and_the_file_is_intact() -> None:
    burst = replace(cell(NAME, backend="sqlite-naive", load="burst"), hosts=1)
    whole = {"sqlite": sqlite_evidence("sqlite-naive")}
    assert wrong(check(increments(burst, 9, **whole))) == {}
    assert wrong(check(increments(burst, 9, **whole, final={"hot-0": 8})))["final value"] == "fail"
    lines = ("*** in database main ***", "Page 3 is never used")
    broken = replace(sqlite_evidence("sqlite-naive"), integrity_check=lines)
    findings = check(increments(burst, 9, sqlite=broken))
    assert wrong(findings) == {"integrity": "fail"}
    assert "Page 3 is never used" in findings["integrity"].detail
    assert wrong(check(increments(burst, 9))) == {"integrity": "unknown", "pragmas": "unknown"}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "pass"),
        ({"synchronous_commit": "remote_apply"}, "pass"),
        ({"fsync": "off"}, "fail"),
        ({"full_page_writes": "off"}, "fail"),
        ({"synchronous_commit": "off"}, "fail"),
        ({"synchronous_commit of crucible": "off"}, "fail"),
    ],
)
def test_postgresqls_durability_is_judged_as_sqlites_pragmas_are(changes: dict[str, str], verdict: str) -> None:
    burst = replace(cell(NAME, backend="postgres", load="burst"), hosts=1)
    settings = dict.fromkeys(("fsync", "full_page_writes", "synchronous_commit"), "on")
    finding = check(increments(burst, 9, durability=settings | changes))["durability"]
    assert finding.verdict == verdict
    assert all(f"{name} {value}" in finding.detail for name, value in changes.items())


def test_durability_that_was_not_read_is_unknown() -> None:
    burst = replace(cell(NAME, backend="postgres", load="burst"), hosts=1)
    assert check(increments(burst, 9, durability={"fsync": "on"}))["durability"].verdict == "unknown"
    unread = check(increments(burst, 9, unread={"durability": "db: no route"}))["durability"]
    assert (unread.verdict, unread.detail) == ("unknown", "not measured: db: no route")
