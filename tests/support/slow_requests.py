"""Requests with known times, and samples of their sessions, for the tests of the slowest requests."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from harness.record import Samples, SessionWaits

MS = 1000
SECOND = 1_000_000
PID = 42


def samples(
    number: int = 40,
    *,
    queue_ms: float = 0.0,
    outside_ms: float = 1.0,
    pool_ms: float = 0.0,
    held_ms: float = 1.0,
    retries: float = 0.0,
    answered: bool = True,
    columns: Sequence[str] = ("duration", "pool_wait_ms", "retries", "backend"),
) -> Samples:
    """One request per second, all alike."""
    due = [n * SECOND for n in range(number)]
    sent = [round(at + queue_ms * MS) for at in due]
    done = [round(at + (outside_ms + pool_ms + held_ms) * MS) for at in sent]
    nan = float("nan")
    values = {"duration": pool_ms + held_ms, "pool_wait_ms": pool_ms, "retries": retries, "backend": float(PID)}
    return Samples(
        seq=array("q", range(number)),
        op=["increment"] * number,
        key=["hot-0"] * number,
        host=["app-1"] * number,
        due_us=array("q", due),
        sent_us=array("q", sent),
        done_us=array("q", done),
        outcome=["ok"] * number,
        status=array("q", [200] * number),
        value=list(range(1, number + 1)),
        error=[""] * number,
        id=[""] * number,
        load_host=["load"] * number,
        phase=["measure"] * number,
        captured={name: array("d", [values[name] if answered else nan] * number) for name in columns},
    )


def waits(of: Samples, wait: str, *, pid: int = PID, more: Sequence[tuple[int, str]] = ()) -> SessionWaits:
    """A tick in every 10 ms of all requests, in which session `pid` has this wait; an empty one is an idle session."""
    ticks = sorted({at for n in range(len(of)) for at in range(of.due_us[n], of.done_us[n] + 1, 10 * MS)})
    entries = [(at, pid, wait) for at in ticks if wait]
    entries += [(at, other, text) for at in ticks for other, text in more]
    entries.sort()
    return SessionWaits(
        tick_us=array("q", ticks),
        at_us=array("q", [at for at, _, _ in entries]),
        pid=array("q", [other for _, other, _ in entries]),
        wait=[text for _, _, text in entries],
    )
