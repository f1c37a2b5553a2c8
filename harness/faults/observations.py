"""When a sick app host left HAProxy's rotation and came back, and when PostgreSQL accepted connections again. Pure.

The states are those that a watcher saw (harness/faults/state_watch.py): an instant on the trial's clock, and the state
from then on. A fault's window lasts from its injection to the next injection of another fault after its heal, else to
the end of the watch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

State = Mapping[str, bool] | None
"""HAProxy: server -> whether it gets requests. PostgreSQL: `accepts`. None where HAProxy did not answer."""
States = Sequence[tuple[int, State]]

OUT, IN, AGAIN, WATCHED, ACCEPTS = "out-of-rotation", "in-rotation", "out-again", "watched-until", "accepts"


def rotation(states: States, host: str, injected_us: int, until_us: int | None = None) -> dict[str, int]:
    """Returns when the host first got no requests at all, and since when all of its workers get them for good.

    Both are absent where it never left the rotation, the second also where it did not come back, or left again. AGAIN
    is when one of its workers first got none although all had been back.
    """
    out_us = in_us = again_us = None
    for at_us, state in _window(states, injected_us, until_us):
        serves = None if state is None else [up for name, up in state.items() if name.split(".")[0] == host]
        if not serves:  # HAProxy did not answer
            continue
        if out_us is None:
            out_us = None if any(serves) else at_us
        elif all(serves):
            in_us = in_us if in_us is not None else at_us
        elif in_us is not None:
            again_us = again_us if again_us is not None else at_us
            in_us = None
    instants = ((OUT, out_us), (IN, in_us), (AGAIN, again_us))
    return {name: at_us for name, at_us in instants if at_us is not None}


def accepts(states: States, injected_us: int, healing_us: int | None, until_us: int | None = None) -> dict[str, int]:
    """Returns since when PostgreSQL accepts connections: from the injection on where it never refused any.

    Once it accepts at the heal or later, an answer that comes late is no fault: a busy machine delays some.
    """
    accepts_us: int | None = None
    for at_us, state in _window(states, injected_us, until_us):
        if accepts_us is not None and healing_us is not None and at_us >= healing_us:
            break
        if state is None or not state["accepts"]:
            accepts_us = None
        elif accepts_us is None:
            accepts_us = at_us
    return {} if accepts_us is None else {ACCEPTS: accepts_us}


def _window(states: States, injected_us: int, until_us: int | None) -> Iterator[tuple[int, State]]:
    """The states in a window; the one that was in force at its begin counts from the begin."""
    earlier = [state for at_us, state in states if at_us < injected_us]
    if earlier:
        yield injected_us, earlier[-1]
    for at_us, state in states:
        if at_us >= injected_us and (until_us is None or at_us < until_us):
            yield at_us, state
