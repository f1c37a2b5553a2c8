"""The comparison with pgbench: arithmetic by table, and one short real run."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from harness.errors import InvalidMeasurement
from harness.selfbench import app as bench
from harness.selfbench import local_stack
from harness.selfbench.app import Turn


def turns(*, doubts: int = 0) -> dict[tuple[str, str], list[Turn]]:
    """Three rounds; in the first `doubts` of them the generator limited `upsert`."""
    rates = {"for-update": (10, 10, 20), "upsert": (20, 30, 50), "coalesce": (100, 100, 100), "pgbench": (40, 40, 40)}
    return {
        (contender, keys): [
            Turn(
                rps=rps,
                cpu_us=300.0,
                doubts=["the generator was stalled"] if contender == "upsert" and number < doubts else [],
            )
            for number, rps in enumerate(of_rounds)
        ]
        for contender, of_rounds in rates.items()
        for keys in bench.KEYS
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("app.upsert_vs_for_update", 2.5),  # the median of 2, 3 and 2.5, not the ratio of medians
        ("app.coalesce_vs_for_update", 10),
        ("app.coalesce_hot_vs_pgbench_hot", 2.5),
        ("app.upsert_vs_pgbench", 0.75),
    ],
)
def test_a_ratio_is_the_median_of_ratios_within_rounds(name: str, value: float) -> None:
    figure = bench.entry(name, turns(), {})
    assert (figure["value"], figure["unit"]) == (value, "x")
    assert "hot " in figure["detail"]
    assert "1,000 keys " in figure["detail"]


def test_rounds_in_which_the_generator_was_the_limit_do_not_count() -> None:
    assert bench.entry("app.upsert_vs_for_update", turns(doubts=1), {})["value"] == 2.75
    none = bench.entry("app.upsert_vs_for_update", turns(doubts=2), {})
    assert (none["value"], none["detail"]) == (None, "not measured: the generator was stalled")
    assert bench.entry("app.coalesce_vs_for_update", turns(doubts=3), {})["value"] == 10


def test_a_missing_program_is_named() -> None:
    without = {name: bench.entry(name, turns(), {"pgbench": "there is none"}) for name in bench.RATIOS}
    assert [name for name, figure in without.items() if figure["value"] is None] == [
        "app.coalesce_hot_vs_pgbench_hot",
        "app.upsert_vs_pgbench",
    ]
    for name in bench.RATIOS:
        figure = bench.entry(name, {}, local_stack.missing(None))
        assert figure["value"] is None
        assert figure["detail"].startswith("not measured: no PostgreSQL server is installed")


def test_the_newest_server_is_used(tmp_path: Path) -> None:
    assert local_stack.programs(tmp_path) is None
    for version in ("9", "16", "15", "old"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "initdb").touch()
    newest = local_stack.programs(tmp_path)
    assert newest == tmp_path / "16" / "bin"
    assert "has no pgbench" in local_stack.missing(newest).get("pgbench", "has no pgbench: no server for root either")


def test_counters_that_differ_from_acknowledgements_are_a_failure(database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as admin:
        admin.execute("INSERT INTO counters (key, value) VALUES ('app-0', 2), ('app-1', 3), ('pgbench-0', 9)")
        bench.check_counters(5, admin)
        for acknowledged in (4, 6):
            with pytest.raises(InvalidMeasurement, match="the counters hold 5"):
                bench.check_counters(acknowledged, admin)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary folders that the server's user can read, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="pgcrucible-test-"))
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def test_it_measures_or_gives_a_reason_and_leaves_nothing(monkeypatch, scratch: Path, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "SECONDS", 0.5)
    file = tmp_path / "app.json"
    bench.main(file)
    entries = json.loads(file.read_text())
    assert set(entries) == set(bench.RATIOS)
    printed = capsys.readouterr().out
    for name, figure in entries.items():
        assert set(figure) == {"value", "unit", "target", "detail"}
        assert name in printed
        assert (figure["value"] or 0) > 0 or figure["detail"].startswith("not measured: ")
    assert list(scratch.iterdir()) == []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            assert str(scratch).encode() not in process.read_bytes()
