"""What a case is: a schedule of steps, a predicate, and what the texts say of it level by level. Pure.

The schedule is the *preferred* interleaving: when a statement has to wait, the rest of its session waits with
it and the other sessions go on, as in PostgreSQL's src/test/isolation.

SQL-92 names three phenomena and, at SERIALIZABLE, serializability. Where it is silent, `standard` is what
Berenson (1995) and Adya (1999) read into the level of the same name (READ UNCOMMITTED PL-1, READ COMMITTED
PL-2, REPEATABLE READ PL-2.99), and `silent` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.isolation.transcript import Transcript

Level = Literal["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
LEVELS: tuple[Level, ...] = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")

Rule = Literal["possible", "prevented"]


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of one session; a label names what the anomaly's definition looks at."""

    session: str
    sql: str
    label: str = ""

    @property
    def writes(self) -> bool:
        """Whether it changes rows."""
        return self.sql.startswith(("INSERT", "UPDATE", "DELETE"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An anomaly: the schedule that provokes it and the predicate that tells it occurred."""

    name: str
    title: str
    meaning: str
    """What somebody sees or loses to whom it happens, in a sentence."""
    steps: tuple[Step, ...]
    needs: tuple[str, ...]
    """The sessions that must have committed; what an aborted transaction saw is no anomaly."""
    anomaly: Callable[[Transcript], bool]
    standard_from: Level
    """The weakest level at which the standard prevents it."""
    standard_basis: str
    documented_from: Level
    """The weakest level at which PostgreSQL's manual says that it prevents it."""
    documented_basis: str

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions in the order of their first step."""
        return tuple(dict.fromkeys(step.session for step in self.steps))

    def standard(self, level: Level) -> Rule:
        """What the standard says of this anomaly at this level."""
        return _rule(self.standard_from, level)

    def basis(self, level: Level) -> str:
        """On which text `standard` rests: SERIALIZABLE is defined by SQL-92 as serializable."""
        return "SQL-92 4.28: SERIALIZABLE means serializable" if level == "SERIALIZABLE" else self.standard_basis

    def silent(self, level: Level) -> bool:
        """Whether SQL-92 itself is silent, so that `standard` is Berenson's and Adya's reading."""
        return not self.basis(level).startswith("SQL-92")

    def documented(self, level: Level) -> Rule:
        """What PostgreSQL's manual says of this anomaly at this level."""
        return _rule(self.documented_from, level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What to drive. The steps of one round are sent together, the next round when all have settled."""

    level: Level
    setup: tuple[str, ...]
    rounds: tuple[tuple[Step, ...], ...]
    final: str
    cleanup: tuple[str, ...]

    @property
    def sessions(self) -> tuple[str, ...]:
        """All sessions, in the order of their first step."""
        return tuple(dict.fromkeys(step.session for round_ in self.rounds for step in round_))


def _rule(weakest: Level, level: Level) -> Rule:
    return "prevented" if LEVELS.index(level) >= LEVELS.index(weakest) else "possible"
