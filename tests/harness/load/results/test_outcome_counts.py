from __future__ import annotations

from pathlib import Path

import pytest

from harness.load.results import outcome_counts
from harness.model import OutcomeCounts

COUNTS = OutcomeCounts(
    {("increment", "hot-0", "ok"): 7, ("increment", "hot-0", "unknown"): 1, ("hold", "hot-1", "fail"): 2}
)
HEAD = "op,key,outcome,requests\n"


def test_counts_survive_the_disk(tmp_path: Path) -> None:
    outcome_counts.write(tmp_path / "keys.csv", COUNTS)
    assert outcome_counts.read(tmp_path / "keys.csv") == COUNTS


def test_columns_may_be_added_and_moved(tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_text("requests,new,outcome,key,op\n7,x,ok,hot-0,increment\n")
    assert outcome_counts.read(tmp_path / "keys.csv") == OutcomeCounts({("increment", "hot-0", "ok"): 7})


@pytest.mark.parametrize(
    "text",
    [
        "", "op,key,outcome\na,b,ok\n", HEAD + "a,b,fine,1\n", HEAD + "a,b,ok\n", HEAD + "a,b,ok,-1\n",
        HEAD + "a,b,ok,1.5\n", HEAD + f"a,b,ok,{'9' * 5000}\n", HEAD + 'a,"b\n', HEAD + f"{'a' * 200_000},b,ok,1\n",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.csv").write_text(text)
    with pytest.raises(ValueError, match=r"near line \d: "):
        outcome_counts.read(tmp_path / "keys.csv")


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "keys.csv").write_bytes(HEAD.encode() + b"\xff\xfe,b,ok,1\n")
    with pytest.raises(ValueError, match="near line"):
        outcome_counts.read(tmp_path / "keys.csv")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "keys.csv").open("wb") as file:
        file.truncate(outcome_counts.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="larger than"):
        outcome_counts.read(tmp_path / "keys.csv")
