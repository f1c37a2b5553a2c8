"""A history in the form that Elle and elle-cli read: a JSON array of invocations and completions, one per line.

[{"index": 0, "type": "invoke", "process": 0, "time": 1000, "f": "txn", "value": [["r", "x", null], ["append", "x", 1]]}
,{"index": 1, "type": "ok", "process": 0, "time": 9000, "f": "txn", "value": [["r", "x", [2]], ["append", "x", 1]]}
]

`ok`, `fail` and `info` (unknown) complete the last invocation of their process. `time` is in nanoseconds. A process has
one transaction at a time and ends with an unknown one, so a transaction is given to the first process that is free.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence

from harness.histories.recorded import Recorded

_TYPES = {"ok": "ok", "fail": "fail", "unknown": "info"}


def lines(requests: Sequence[Recorded]) -> Iterator[str]:
    """Yields the history in the order of time, as the lines of a JSON array without their ends."""
    events = [(each.sent_us, 1, at) for at, each in enumerate(requests)]
    events += [(each.done_us, 0 if each.done_us > each.sent_us else 2, at) for at, each in enumerate(requests)]
    free: list[int] = []
    process_of: dict[int, int] = {}
    processes = 0
    for index, (time_us, order, at) in enumerate(sorted(events)):
        each = requests[at]
        kind = "invoke" if order == 1 else _TYPES[each.outcome]
        if order == 1:
            if not free:
                heapq.heappush(free, processes)
                processes += 1
            process_of[at] = heapq.heappop(free)
        elif each.outcome != "unknown":
            heapq.heappush(free, process_of[at])
        done = each.results if kind == "ok" and each.results is not None else [None] * len(each.ops)
        value = [[*op[:2], result] if op[0] == "r" else op for op, result in zip(each.ops, done, strict=True)]
        event = {
            "index": index,
            "type": kind,
            "process": process_of[at],
            "time": time_us * 1000,
            "f": "txn",
            "value": value,
        }
        yield ("," if index else "[") + json.dumps(event)
    yield "]" if requests else "[]"
