"""Files of session waits: what was written is read, and a damaged one is an error with its name."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from harness.errors import FormatError
from harness.store import waits_file

HEAD = "at_us,pid,wait\n"


def stored(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "001-waits.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_a_run_without_the_file_has_no_waits(tmp_path: Path) -> None:
    assert waits_file.read(waits_file.path_of(tmp_path, 1)) is None


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "001-waits.csv.gz"
    waits_file.write(path, [(5, 0, ""), (7, 3, "on CPU"), (7, 4, 'blocks:=a,"b\n (idle)')])
    waits = waits_file.read(path)
    assert waits is not None
    assert list(waits.tick_us) == [5, 7]
    assert list(zip(waits.at_us, waits.pid, strict=True)) == [(7, 3), (7, 4)]
    assert waits.wait[0] == "on CPU"
    assert not set(waits.wait[1]) & set(',"\n')


@pytest.mark.parametrize(
    "text",
    [
        "at_us,pid\n1,2\n",
        HEAD + "1,2\n",
        HEAD + "1,2,on CPU,more\n",
        HEAD + "x,2,on CPU\n",
        HEAD + "9,2,on CPU\n5,2,on CPU\n",
        HEAD + f"{2**70},2,on CPU\n",
        HEAD + "1,2," + "x" * 100_000 + ",\n",
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    path = stored(tmp_path, text)
    with pytest.raises(FormatError, match="001-waits"):
        waits_file.read(path)


def test_a_file_cut_off_is_named(tmp_path: Path) -> None:
    path = stored(tmp_path, HEAD + "1,2,on CPU\n" * 100)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FormatError, match="001-waits"):
        waits_file.read(path)


def test_a_file_that_unpacks_to_a_multiple_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="times its size"):
        waits_file.read(stored(tmp_path, HEAD + "1,2,on CPU\n" * 1_000_000))


def test_the_number_of_rows_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits_file, "MAX_ROWS", 10)
    path = tmp_path / "001-waits.csv.gz"
    waits_file.write(path, ((n, 1, "on CPU") for n in range(20)))
    waits = waits_file.read(path)
    assert waits is not None
    assert len(waits.pid) == 10
    with pytest.raises(FormatError, match="more than 10 rows"):
        waits_file.read(stored(tmp_path, HEAD + "1,2,on CPU\n" * 11))
