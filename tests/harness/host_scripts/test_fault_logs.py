"""Which lines of the logs are kept, and when a line of PostgreSQL's log was written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.host_scripts.fault_logs import chosen, instant_us, postgres

LINES = [(1, "u", "a"), (2, "u", "FATAL:  x"), (3, "u", "b"), (4, "u", "ERROR:  y"), (5, "u", "c")]


@pytest.mark.parametrize(
    ("most", "instants"), [(9, [1, 2, 3, 4, 5]), (5, [1, 2, 3, 4, 5]), (3, [1, 2, 4]), (2, [2, 4]), (1, [2])]
)
def test_errors_are_kept_first_and_the_order_stays(most: int, instants: list[int]) -> None:
    assert [at_us for at_us, _, _ in chosen(LINES, most)] == instants


def test_a_time_stamp_is_in_utc_or_in_the_hosts_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert instant_us("1970-01-02 00:00:00", "250", "UTC") == 86_400_250_000
    monkeypatch.setenv("TZ", "UTC+2")
    time.tzset()
    try:
        assert instant_us("1970-01-02 00:00:00", "000", "-02") == (86_400 + 7200) * 1_000_000
    finally:
        monkeypatch.undo()
        time.tzset()


def test_lines_of_the_server_since_an_instant_with_what_follows_them(tmp_path: Path) -> None:
    (tmp_path / "postgresql-15-main.log").write_text(
        "2026-01-01 00:00:01.000 UTC [1] LOG:  early\n\tof it\n"
        "2026-01-01 00:00:03.500 UTC [2] FATAL:  late\n\tand its rest\n"
    )
    since_us = instant_us("2026-01-01 00:00:02", "000", "UTC")
    assert list(postgres(tmp_path, since_us)) == [
        (since_us + 1_500_000, "postgresql", "[2] FATAL:  late"),
        (since_us + 1_500_000, "postgresql", "\tand its rest"),
    ]
