"""The history beside the samples of a lane with list-append transactions."""

from __future__ import annotations

import json
from pathlib import Path

from harness.load.results.samples import Sample, write
from harness.load.spec import LoadSpec, Operation
from harness.load.transactions import Transactions
from harness.measure.history_file import write_histories


def spec(transactions: Transactions | None) -> LoadSpec:
    operation = Operation(name="txn", path="/api/txn", body={}, transactions=transactions)
    return LoadSpec(mode="closed", clients=1, requests=3, operations=(operation,))


def test_a_history_is_written_for_list_append_alone(tmp_path: Path) -> None:
    lists = Transactions(kind="list-append")
    rows = [
        Sample(
            seq, "txn", "list-0", "app-1", 10 * seq, 10 * seq, 10 * seq + 5, outcome, 200, None, "", "", "load-1",
            "measure",
        )
        for seq, outcome in enumerate(("ok", "unknown", "fail"))
    ]  # fmt: skip
    lanes = {"main": spec(lists), "bank": spec(Transactions(kind="bank")), "other": spec(None), "absent": spec(lists)}
    for lane in ("main", "bank", "other"):
        write(tmp_path / f"004-{lane}.{'csv.gz' if lane == 'main' else 'csv'}", rows)
    ops = lists.draw(3, 0, "list-{}".format)
    results = [[7] if op[0] == "r" else None for op in ops]
    write_histories(tmp_path, 4, lanes, {"main": [{"seq": 0, "results": results}]}, 3)
    assert [path.name for path in tmp_path.glob("*.json")] == ["004-main.history.json"]
    events = json.loads((tmp_path / "004-main.history.json").read_text(encoding="utf-8"))
    assert [event["type"] for event in events] == ["invoke", "ok", "invoke", "info", "invoke", "fail"]
    assert events[1]["value"] == [["r", op[1], [7]] if op[0] == "r" else op for op in ops]
    assert events[5]["value"] == [
        ["r", op[1], None] if op[0] == "r" else op for op in lists.draw(3, 2, "list-{}".format)
    ]
