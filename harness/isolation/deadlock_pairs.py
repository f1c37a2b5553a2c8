"""Deadlocks: pairs of transactions that update two rows in crossed order, and the evaluation of each pair. Pure.

In a pair, A updates the odd row and then the even one; B updates them in reverse order. A adds 1 and B adds 10, so
the final values show whose transaction was applied, and whether once, twice or in part.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.isolation.case_model import Level, Script, Step
from harness.isolation.observe import wrong_levels
from harness.isolation.transcript import LEVEL, Event, Transcript

LEVEL_USED: Level = "READ COMMITTED"
DEADLOCK_DETECTED = "40P01"
MAX_PAIRS = 40
"""80 connections, which fit into PostgreSQL's default of 100."""
ADDS = {"A": 1, "B": 10}


def sessions(pair: int) -> tuple[str, str]:
    """Returns the names of a pair's two sessions. Pairs are numbered from 1."""
    return f"{pair}A", f"{pair}B"


def rows_of(pair: int) -> tuple[int, int]:
    """Returns the ids of the pair's two rows."""
    return 2 * pair - 1, 2 * pair


def script(pairs: int, *, crossed: bool = True) -> Script:
    """Builds the schedule of all pairs at once. All second updates are sent together, after every session has its
    first lock.

    Without `crossed`, both sessions of a pair update odd, then even: no deadlock is possible (the negative control).
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
            tuple(
                Step(name, "SELECT current_setting('transaction_isolation'), pg_backend_pid()", LEVEL) for name in names
            ),
            tuple(first),
            tuple(second),
            tuple(Step(name, "COMMIT") for name in names),
        ),
        final="SELECT id, value FROM test ORDER BY id",
        cleanup=("DROP TABLE IF EXISTS test",),
    )


def _add(session: str, row: int, position: str) -> Step:
    value = ADDS[session[-1]]
    sql = f"UPDATE test SET value = value + {value} WHERE id = {row}"  # noqa: S608 (numbers from this module)
    return Step(session, sql, f"{session} {position}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """The outcome of one pair. `faults` are phrases for messages, empty if the pair behaved as expected."""

    number: int
    victims: tuple[str, ...]
    """Sessions that got 40P01."""
    crossed: bool
    """Whether both sessions had their first lock before either requested its second."""
    applied: bool
    """Whether exactly one transaction was acknowledged and both rows hold what it added."""
    detection_ms: float | None
    """Time from sending the victim's second update to its error; None unless there was exactly one victim."""
    faults: tuple[str, ...]


def evaluate_pair(transcript: Transcript, number: int) -> PairResult:
    """Evaluates one pair from the transcript."""
    names = sessions(number)
    labels = {event.label: event for event in transcript.events}
    firsts = [labels.get(f"{name} first") for name in names]
    seconds = [labels.get(f"{name} second") for name in names]
    crossed = _crossed(firsts, seconds)
    errors = [event for name in names for event in transcript.of(name) if event.code]
    victims = tuple(event.session for event in errors if event.code == DEADLOCK_DETECTED)
    survivors = [name for name in names if transcript.committed(name)]
    expected = sum(ADDS[name[-1]] for name in survivors)
    after = transcript.after()
    values = [after.get(row) for row in rows_of(number)]
    applied = len(survivors) == 1 and values == [expected, expected]
    faults = [f"{e.session} failed with {e.code} {e.message}" for e in errors if e.code != DEADLOCK_DETECTED]
    if not crossed:
        faults.append("the sessions did not each hold a lock before requesting the other's")
    if len(victims) != 1:
        faults.append(f"{len(victims)} victims")
    if not applied:
        faults.append(f"committed: {', '.join(survivors) or 'neither'}; the rows hold {values}")
    victim = next((event for event in errors if event.code == DEADLOCK_DETECTED), None)
    return PairResult(
        number=number,
        victims=victims,
        crossed=crossed,
        applied=applied,
        detection_ms=round(victim.ms, 3) if victim and len(victims) == 1 else None,
        faults=tuple(faults),
    )


def _crossed(firsts: list[Event | None], seconds: list[Event | None]) -> bool:
    locked = [event.done_ms for event in firsts if event and not event.code]
    requested = [event.sent_ms for event in seconds if event]
    return len(locked) == len(requested) == 2 and max(locked) <= min(requested)


def transcript_problems(transcript: Transcript, pairs: int) -> list[str]:
    """Returns the reasons why the transcript of `pairs` pairs cannot be evaluated."""
    problems = [*([transcript.trouble] if transcript.trouble else []), *wrong_levels(LEVEL_USED, transcript)]
    reported = sum(event.label == LEVEL and not event.code for event in transcript.events)
    if not problems and reported != 2 * pairs:
        problems.append(f"{reported} of {2 * pairs} transactions reported their level")
    return problems
