"""Deadlocks: pairs of transactions that update two rows in crossed order, and what must come of it. Pure.

Of a pair, A updates the odd row and then the even one, B the other way round. A adds 1 and B adds 10, so the
rows tell at the end whose transaction was applied, once, twice or in part.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.isolation.case_model import Level, Script, Step
from harness.isolation.observe import wrong_levels
from harness.isolation.transcript import LEVEL, Event, Transcript

LEVEL_USED: Level = "READ COMMITTED"
DEADLOCK_DETECTED = "40P01"
MAX_PAIRS = 40
"""80 connections: what PostgreSQL's default of 100 leaves room for."""
ADDS = {"A": 1, "B": 10}


def sessions(pair: int) -> tuple[str, str]:
    """Names of the two sessions of a pair; pairs count from 1."""
    return f"{pair}A", f"{pair}B"


def rows_of(pair: int) -> tuple[int, int]:
    """The ids of the pair's two rows."""
    return 2 * pair - 1, 2 * pair


def script(pairs: int, *, crossed: bool = True) -> Script:
    """All pairs at once. Second updates are sent when every session has its first lock, all together.

    Without `crossed` both of a pair go odd, even: nothing can deadlock (the negative control).
    """
    names = [name for pair in range(1, pairs + 1) for name in sessions(pair)]
    first, second = [], []
    for pair in range(1, pairs + 1):
        odd, even = rows_of(pair)
        a, b = sessions(pair)
        first += [_add(a, odd, "first"), _add(b, even if crossed else odd, "first")]
        second += [_add(a, even, "second"), _add(b, odd if crossed else even, "second")]
    return Script(
        level=LEVEL_USED,
        setup=(
            "DROP TABLE IF EXISTS test",
            "CREATE TABLE test (id int PRIMARY KEY, value int NOT NULL)",
            f"INSERT INTO test SELECT id, 0 FROM generate_series(1, {2 * pairs}) AS id",  # noqa: S608 (a number)
        ),
        rounds=(
            tuple(Step(name, f"BEGIN ISOLATION LEVEL {LEVEL_USED}") for name in names),
            tuple(Step(name, "SHOW transaction_isolation", LEVEL) for name in names),
            tuple(first),
            tuple(second),
            tuple(Step(name, "COMMIT") for name in names),
        ),
        final="SELECT id, value FROM test ORDER BY id",
        cleanup=("DROP TABLE IF EXISTS test",),
    )


def _add(session: str, row: int, which: str) -> Step:
    value = ADDS[session[-1]]
    sql = f"UPDATE test SET value = value + {value} WHERE id = {row}"  # noqa: S608 (numbers of our own)
    return Step(session, sql, f"{session} {which}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What came of one pair. `faults` are sentences; none means that all was as it should be."""

    number: int
    victims: tuple[str, ...]
    """Sessions that got 40P01."""
    crossed: bool
    """Whether both had their first lock before either asked for its second."""
    applied: bool
    """Whether one transaction was acknowledged, and both rows hold exactly what it added."""
    detection_ms: float | None
    """From the victim's second update sent to its error, if there was exactly one victim."""
    faults: tuple[str, ...]


def judge_pair(seen: Transcript, number: int) -> Pair:
    """The pair's fate, from the transcript."""
    names = sessions(number)
    labels = {event.label: event for event in seen.events}
    firsts = [labels.get(f"{name} first") for name in names]
    seconds = [labels.get(f"{name} second") for name in names]
    crossed = _crossed(firsts, seconds)
    errors = [event for name in names for event in seen.of(name) if event.code]
    victims = tuple(event.session for event in errors if event.code == DEADLOCK_DETECTED)
    survivors = [name for name in names if seen.committed(name)]
    expected = sum(ADDS[name[-1]] for name in survivors)
    after = seen.after()
    values = [after.get(row) for row in rows_of(number)]
    applied = len(survivors) == 1 and values == [expected, expected]
    faults = [f"{e.session} failed with {e.code} {e.message}" for e in errors if e.code != DEADLOCK_DETECTED]
    if not crossed:
        faults.append("the two did not each hold a lock before asking for the other's")
    if len(victims) != 1:
        faults.append(f"{len(victims)} victims")
    if not applied:
        faults.append(f"committed: {', '.join(survivors) or 'neither'}, and the rows hold {values}")
    victim = next((event for event in errors if event.code == DEADLOCK_DETECTED), None)
    return Pair(
        number=number,
        victims=victims,
        crossed=crossed,
        applied=applied,
        detection_ms=round(victim.ms, 3) if victim and len(victims) == 1 else None,
        faults=tuple(faults),
    )


def _crossed(firsts: list[Event | None], seconds: list[Event | None]) -> bool:
    held = [event.done_ms for event in firsts if event and not event.code]
    asked = [event.sent_ms for event in seconds if event]
    return len(held) == len(asked) == 2 and max(held) <= min(asked)


def doubts(seen: Transcript, pairs: int) -> list[str]:
    """Why the transcript of so many pairs proves nothing, if so."""
    found = [*([seen.trouble] if seen.trouble else []), *wrong_levels(LEVEL_USED, seen)]
    asserted = sum(event.label == LEVEL and not event.code for event in seen.events)
    return found if found or asserted == 2 * pairs else [f"{asserted} of {2 * pairs} transactions told their level"]
