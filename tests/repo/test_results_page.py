"""docs/results.md: its queries run on the example run, and its Python does."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/results.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def on_the_example(text: str) -> str:
    folder = ROOT / "results"
    return text.replace("results/latest", f"{folder}/example").replace("results/*/", f"{folder}/exampl?/")


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_finds_rows(query: str) -> None:
    with duckdb.connect() as database:
        rows = database.execute(on_the_example(query)).fetchall()
    assert rows
    assert any(value is not None for value in rows[0])


def test_a_query_of_a_column_that_does_not_exist_fails() -> None:
    assert len(QUERIES) == 5
    with duckdb.connect() as database, pytest.raises(duckdb.BinderException):
        database.execute(on_the_example(QUERIES[0].replace("backend", "bakcend")))


def test_the_python_of_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = PYTHON
    code = code.replace("open_results()", f"open_results({str(ROOT / 'results/example')!r})")
    frames: list[object] = []
    namespace: dict[str, object] = {}
    before, _, call = code.rpartition("frame(run")
    monkeypatch.setattr("harness.results.frame", frames.append)  # neither library is installed here
    exec(f"{before}frame(run{call}", namespace)
    assert len(frames) == 1
    assert namespace["rates"]
