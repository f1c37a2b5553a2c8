"""The original page's claims beside figures whose answer is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.model import Cell
from harness.report.blocks import Value
from harness.report.claims import claims_tables
from harness.report.summary import summarise
from tests.harness.report.builders import Made, store


def cell(backend: str, clients: int = 100) -> Cell:
    return Cell(scenario="sqlite-vs-postgres", backend=backend, hosts=4, clients=clients, requests=1000)  # type: ignore[arg-type]


def tables(tmp_path: Path, *trials: Made) -> list[Mapping[str, tuple[Value, ...]]]:
    (summary,) = summarise(store(tmp_path, trials))
    return [{row[0].text: row for row in table.rows} for table in claims_tables(summary)]


def naive(**more: object) -> Made:
    values: dict[str, object] = {
        "ok": 250, "fail": 750, "seconds": 2.5, "figures": {"mean_ms": 500.0}, "errors": {"SQLITE_BUSY": 750},
    }  # fmt: skip
    return Made(cell=cell("sqlite-naive"), **(values | more))  # type: ignore[arg-type]


def postgres(**more: object) -> Made:
    values: dict[str, object] = {"ok": 1000, "seconds": 0.8, "figures": {"mean_ms": 40.0}}
    return Made(cell=cell("postgres"), **(values | more))  # type: ignore[arg-type]


def test_claims_that_hold(tmp_path: Path) -> None:
    (rows,) = tables(tmp_path, naive(), postgres())
    success = rows["Success rate of concurrent writes"]
    assert [value.text for value in success[1:5]] == ["25.0 %", "\N{EN DASH}", "100 %", "+300 %"]
    for title in (
        "Success rate of concurrent writes",
        "Mean response time, ms",
        "Throughput, requests/s",
        "Error rate",
    ):
        assert rows[title][-1].mark == "pass", title
    assert rows["Throughput, requests/s"][3].text == "1,250"
    assert rows["Error rate"][4].text == "\N{MINUS SIGN}100 %"


def test_a_figure_that_is_not_reached(tmp_path: Path) -> None:
    (rows,) = tables(tmp_path, naive(), postgres(seconds=2.0, figures={"mean_ms": 50.1}))
    assert rows["Throughput, requests/s"][-1] == Value(
        "does not hold", "PostgreSQL does not reach 1,000 req/s; the change is smaller than +900 %", "fail"
    )
    assert rows["Mean response time, ms"][-1].note.startswith("PostgreSQL does not reach 50 ms")


def test_a_change_that_is_smaller_than_claimed(tmp_path: Path) -> None:
    (rows,) = tables(tmp_path, naive(ok=900, fail=100, errors={}), postgres())
    verdict = rows["Success rate of concurrent writes"][-1]
    assert (verdict.text, verdict.note) == ("does not hold", "the change is smaller than +233 %")


def test_one_failed_request_in_a_thousand_is_the_most_the_error_rate_allows(tmp_path: Path) -> None:
    (rows,) = tables(tmp_path / "1", naive(), postgres(ok=999, fail=1))
    assert rows["Error rate"][-1].mark == "pass"
    assert rows["Success rate of concurrent writes"][3].text == "99.9 %"
    assert rows["Success rate of concurrent writes"][-1].mark == "fail"
    (rows,) = tables(tmp_path / "2", naive(), postgres(ok=998, fail=2))
    assert rows["Error rate"][-1].mark == "fail"


def test_sqlite_without_an_error_leaves_nothing_to_improve(tmp_path: Path) -> None:
    (rows,) = tables(tmp_path, naive(ok=1000, fail=0, errors={}), postgres())
    assert rows["Error rate"][-1] == Value("does not hold", "naive SQLite had none either", "fail")
    assert rows["Error rate"][4].text == "\N{EN DASH}"


def test_connections_are_the_most_that_were_all_served(tmp_path: Path) -> None:
    ones = [
        Made(cell=cell("sqlite-naive", 1)), naive(),
        Made(cell=cell("postgres", 1)), postgres(), Made(cell=cell("postgres", 500), ok=999, fail=1),
    ]  # fmt: skip
    rows = tables(tmp_path, *ones)[-1]["Connections at once, all served"]
    assert [value.text for value in rows[1:4]] == ["1", "\N{EN DASH}", "100"]
    assert rows[-1].mark == "pass"


def test_too_few_connections_tried_are_no_failure(tmp_path: Path) -> None:
    few = [Made(cell=cell(backend, 50)) for backend in ("sqlite-naive", "postgres")]
    (rows,) = tables(tmp_path, *few)
    assert rows["Connections at once, all served"][-1] == Value("not measured", "no more than 50 were tried", "unknown")


def test_an_invalid_trial_supports_no_claim_on_speed(tmp_path: Path) -> None:
    (rows,) = tables(tmp_path, naive(), postgres(valid=False, reason="CPU"))
    assert rows["Throughput, requests/s"][-1] == Value(
        "not measured", "PostgreSQL's figure was not measured", "unknown"
    )


def test_without_naive_sqlite_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert tables(tmp_path, postgres()) == []
