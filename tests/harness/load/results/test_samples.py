from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.load.results.samples import COLUMNS, Sample, header, open_text, read_samples, sample_file, write

ROW = Sample(
    5, "increment", "hot-0", "app-1", 1, 2, 30, "ok", 200, 7, "", "t-load-1-5", "load-1", "measure", (1.5, math.nan)
)
LOST = Sample(6, "increment", "hot-1", "", 4, 4, 90, "unknown", 0, None, "eof", "", "load-1", "warmup", (math.nan, 2.0))


@pytest.mark.parametrize("name", ["samples.csv", "samples.csv.gz"])
def test_samples_survive_the_disk(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [ROW, LOST], ("retries", "wait_ms"))
    assert sample_file(tmp_path) == tmp_path / name
    got = read_samples(tmp_path / name)
    assert len(got) == 2
    for number, row in enumerate((ROW, LOST)):
        assert tuple(getattr(got, column)[number] for column in COLUMNS) == tuple(row[:-1])
    assert got.captured["retries"][0] == 1.5
    assert math.isnan(got.captured["retries"][1])
    assert got.captured["wait_ms"][1] == 2.0


def test_the_columns_of_the_contract_come_first() -> None:
    assert header(("x",)).startswith("seq,op,key,host,due_us,sent_us,done_us,outcome,status,value,error,")
    assert header(("x",)).endswith(",phase,c_x")


def test_columns_may_be_added_and_moved(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(
        ",".join(["new", *reversed(COLUMNS)]) + "\nx," + ",".join(str(v) for v in reversed(ROW[:-1])) + "\n"
    )
    got = read_samples(tmp_path / "samples.csv")
    assert (got.seq[0], got.done_us[0], got.phase) == (5, 30, ["measure"])


def test_many_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        ROW._replace(seq=seq, key="k" * (seq % 97), value=None if seq % 3 else seq, error="x" * (seq % 31))
        for seq in range(5000)
    ]
    write(tmp_path / "samples.csv", rows, ("retries", "wait_ms"))
    got = read_samples(tmp_path / "samples.csv")
    for column in COLUMNS:
        assert list(getattr(got, column)) == [getattr(row, column) for row in rows]


def test_quoted_fields_and_a_last_line_without_newline_are_read(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text(header() + "\n" + GOOD + "\n" + GOOD.replace("hot-0", '"hot,""0"'))
    assert read_samples(tmp_path / "samples.csv").key == ["hot-0", 'hot,"0']


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    write(tmp_path / "samples.csv", [])
    assert len(read_samples(tmp_path / "samples.csv")) == 0
    assert sample_file(tmp_path / "elsewhere") is None


GOOD = "5,increment,hot-0,app-1,1,2,30,ok,200,7,,id,load-1,measure"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "columns are missing"),
        ("seq,op\n1,2\n", "columns are missing"),
        (header() + ",seq\n", "columns are missing or repeated"),
        (header() + "\n" + GOOD.replace("30", "3x") + "\n", "near line 2"),
        (header() + "\n" + GOOD + "\n" + GOOD[:-9] + "\n", "near line 3"),
        (
            header() + "\n" + GOOD + "\n" + GOOD[:-8] + "\n" + GOOD + ",\n",
            "near line 4: a line does not have 14 fields",
        ),
        (header() + "\n" + GOOD + "\n\n", "a line does not have 14 fields"),
        (header() + "\n" + GOOD + "x" * 70_000, "near line 1: a line of more than 65,536 characters"),
        (header() + "\n" + GOOD.replace("30", "9" * 30) + "\n", "near line 2"),
        (header() + "\n" + GOOD.replace("ok", "fine") + "\n", "unknown outcome 'fine'"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "samples.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path / "samples.csv")


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "samples.csv.gz"
    with open_text(path, "w") as file:
        file.write(header() + "\n" + (GOOD + "\n") * 5000)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EOFError):
        read_samples(path)
