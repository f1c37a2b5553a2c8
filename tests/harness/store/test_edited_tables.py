"""Tables of a run that a spreadsheet or an editor has saved: read right, or refused; never read as something else."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.figures import figures
from harness.errors import FormatError
from harness.load.results.merge import window_over_lanes
from harness.report.trial_data import read_trials
from harness.store.csv_rows import LATER_COLUMNS, TELEMETRY_COLUMNS, TIMELINE_COLUMNS, TRIAL_COLUMNS
from harness.store.files import append_rows
from harness.store.row_figures import has_figures_of
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.stored_runs import rejected

EXAMPLE = Path(__file__).parents[3] / "results/example"
Table = list[list[str]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "run"))


def rewrite(path: Path, change: Callable[[Table], Table] = lambda rows: rows, **style: str) -> None:
    """Saves a table as another program does."""
    encoding = style.pop("encoding", "utf-8")
    with path.open(newline="") as file:
        rows = change(list(csv.reader(file)))
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **{"lineterminator": "\n"} | style).writerows(rows)  # type: ignore[arg-type]


def content(run: Run) -> object:
    return run.rows, list(run.timeline()), list(run.readings()), [record.row for record in run.records()]


TABLES = ("trials.csv", "timeline.csv", "telemetry.csv")


@pytest.mark.parametrize(
    "style", [{"lineterminator": "\r\n"}, {"lineterminator": "\r"}, {"encoding": "utf-8-sig"}], ids=str
)
def test_other_line_ends_and_a_byte_order_mark_are_read_right(run: Path, style: dict[str, str]) -> None:
    for name in TABLES:
        rewrite(run / name, **style)
    assert content(load_run(run)) == content(load_run(EXAMPLE))


def test_other_orders_of_columns_and_rows_are_read_right(run: Path) -> None:
    def mixed(rows: Table) -> Table:
        return [[*row[1:], row[0], "added"] for row in [rows[0], *sorted(rows[1:], key=lambda row: row[-2])]]

    rewrite(run / "trials.csv", mixed)
    assert {r.trial.order: r for r in load_run(run).rows} == {r.trial.order: r for r in load_run(EXAMPLE).rows}
    assert len(list(load_run(run).records())) == len(load_run(EXAMPLE).rows)


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("name", TABLES)
def test_other_separators_are_refused(run: Path, name: str, delimiter: str) -> None:
    rewrite(run / name, delimiter=delimiter)
    error = rejected(lambda: content(load_run(run)), f"{name}:1: no column '")
    assert error.hint == "fields are separated by commas"


COLUMNS = [
    *(("trials.csv", name) for name in TRIAL_COLUMNS if name not in LATER_COLUMNS),
    *(("timeline.csv", name) for name in TIMELINE_COLUMNS),
    *(("telemetry.csv", name) for name in TELEMETRY_COLUMNS),
]


@pytest.mark.parametrize("way", ["dropped", "renamed", "repeated"])
def test_a_column_that_is_missing_or_repeated_is_refused(run: Path, way: str) -> None:
    for name, column in COLUMNS:

        def changed(rows: Table, column: str = column) -> Table:
            at = rows[0].index(column)
            if way == "dropped":
                return [row[:at] + row[at + 1 :] for row in rows]
            return [[*rows[0][:at], f"{column} ", *rows[0][at + 1 :]], *rows[1:]] if way == "renamed" else [
                [*row, row[at]] for row in rows
            ]  # fmt: skip

        before = (run / name).read_bytes()
        rewrite(run / name, changed)
        rejected(lambda: content(load_run(run)), f"{name}:1: ", f"column '{column}'")
        (run / name).write_bytes(before)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("order", ""), ("order", "1.0"), ("order", "\u0661"), ("scenario", ""), ("backend", ""), ("hosts", ""),
        ("pool", ""), ("clients", ""), ("clients", "1,000"), ("clients", "1.000"), ("trial", ""), ("seed", ""),
        ("seed", "2.44471E+09"), ("sent", "1.000"), ("sent", "1,000.0"), ("sent", "1E+03"), ("ok", "999.5"),
        ("ok", "-1"), ("rps", "915,517006"), ("rps", "915.517.006"), ("rps", "9.15E+02"), ("rps", " 915.5"),
        ("rps", "1_000"), ("rps", "915.50"), ("rps", "#NAME?"), ("rps", "0x10"), ("rps", "infinity"),
        ("valid", "TRUE"), ("valid", "WAHR"), ("steady", "1"), ("params", "{}{}"), ("params", "[]"), ("mode", ""),
        ("params", '{"n": 1' + "0" * 400 + "}"),
    ],
)  # fmt: skip
def test_a_value_that_a_spreadsheet_has_changed_is_refused(run: Path, column: str, value: str) -> None:
    def changed(rows: Table) -> Table:
        rows[1][rows[0].index(column)] = value
        return rows

    rewrite(run / "trials.csv", changed)
    rejected(lambda: load_run(run), "trials.csv:2: ")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("change", [lambda row: [*row, "1"], lambda row: row[:-1]], ids=["longer", "shorter"])
def test_a_row_with_too_many_or_too_few_fields_is_refused(
    run: Path, name: str, change: Callable[[list[str]], list[str]]
) -> None:
    rewrite(run / name, lambda rows: [*rows[:2], change(rows[2]), *rows[3:]])
    rejected(lambda: content(load_run(run)), f"{name}:3: ")


def test_decimal_commas_without_quotes_are_refused(run: Path) -> None:
    text = (run / "trials.csv").read_text()
    number = next(part for part in text.splitlines()[1].split(",") if re.fullmatch(r"\d+\.\d{4,}", part))
    (run / "trials.csv").write_text(text.replace(number, number.replace(".", ",")))
    rejected(lambda: load_run(run), "trials.csv:2: ", "fields, but the header has")


def test_a_row_is_not_judged_by_the_samples_of_another_trial(run: Path) -> None:
    """The table was sorted, and the column `order` filled again from above."""

    def renumbered(rows: Table) -> Table:
        at = rows[0].index("order")
        turned = [rows[0], *reversed(rows[1:])]
        for number, row in enumerate(turned[1:], start=1):
            row[at] = str(number)
        return turned

    rewrite(run / "trials.csv", renumbered)
    rejected(lambda: list(load_run(run).records()), "the figures of trial 1 are not those of its samples")
    assert "the figures of trial 1 are not those of its samples" in " ".join(read_trials(load_run(run)).damage)
    assert read_trials(load_run(EXAMPLE)).damage == ()


@pytest.mark.parametrize("name", ["seconds", "rps", "p50_ms", "p99_ms", "service_p95_ms", "transactions", "ok"])
def test_a_figure_that_was_changed_by_hand_is_refused(run: Path, name: str) -> None:
    def doubled(rows: Table) -> Table:
        at = rows[0].index(name)
        rows[1][at] = str(2 * float(rows[1][at]))
        return rows

    rewrite(run / "trials.csv", doubled)
    rejected(lambda: list(load_run(run).records()), "the figures of trial 1 are not those of its samples")


def test_the_rate_of_several_lanes_that_was_changed_by_hand_is_refused(tmp_path: Path) -> None:
    """The row has the figures of all lanes, or of one, as in older runs."""
    read = load_run(EXAMPLE)
    lanes = list(read.summaries(4).values())
    assert len(lanes) == 2
    (row,) = [row for row in read.rows if row.trial.order == 4]
    together = figures(window_over_lanes(lanes)) | {"mean_ms": None, "max_ms": None}
    assert together["p50_ms"] is None, "percentiles over lanes need their histograms"
    for of in (row.figures, figures(lanes[1]), together):
        assert has_figures_of(replace(row, figures=of), lanes)
        assert not has_figures_of(replace(row, figures={**of, "rps": 2 * (of["rps"] or 0.0)}), lanes)


def test_a_row_that_was_copied_is_refused(run: Path) -> None:
    """As one more trial it would make a claim from fewer measurements than there seem to be."""
    rewrite(run / "trials.csv", lambda rows: [*rows, ["7", *rows[1][1:]]])
    rejected(load_run(run).require_measured, "trial 7 has no evidence")
    load_run(run).require_measured("isolation")
    load_run(EXAMPLE).require_measured()


@pytest.mark.parametrize("dropped", [1, 4, -1])
def test_a_row_that_is_gone_is_noticed(run: Path, dropped: int) -> None:
    """Without it a cell would be judged by its other trials."""
    rewrite(run / "trials.csv", lambda rows: [row for row in rows if row is not rows[dropped]])
    rejected(lambda: load_run(run), "trials.csv: no row of trial", "which was measured")
    manifest = run / "run.yml"
    manifest.write_text(manifest.read_text().replace("status: finished", "status: aborted", 1))
    assert load_run(run).rows  # its last trial may have been cut off


@pytest.mark.parametrize(
    "style", [{"delimiter": ";"}, {"lineterminator": "\r\n"}, {"encoding": "utf-8-sig"}, {"quoting": csv.QUOTE_ALL}],
    ids=str,
)  # fmt: skip
def test_nothing_is_appended_to_a_table_that_another_program_has_saved(run: Path, style: dict[str, str]) -> None:
    rewrite(run / "telemetry.csv", **style)
    before = (run / "telemetry.csv").read_bytes()
    with pytest.raises(FormatError, match="changed by another program"):
        append_rows(run / "telemetry.csv", TELEMETRY_COLUMNS, [dict.fromkeys(TELEMETRY_COLUMNS, "1")])
    assert (run / "telemetry.csv").read_bytes() == before


def test_a_run_whose_telemetry_has_lost_its_order_is_not_resumed(run: Path) -> None:
    rewrite(run / "telemetry.csv", lambda rows: [[row[0], *row[2:]] for row in rows])
    rejected(lambda: RunWriter.resume(load_run(run)), "no column 'order'")
