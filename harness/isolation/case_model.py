"""The model of a case: a schedule of steps, a predicate, and what standard and manual state per level. Pure.

The schedule is the *preferred* interleaving. When a statement has to wait, the rest of its session waits with
it and the other sessions go on, as in PostgreSQL's src/test/isolation.

SQL-92 defines three phenomena, and serializability at SERIALIZABLE. Where it is silent, `silent` is true and
`standard` is what Berenson (1995) and Adya (1999) define for the level of the same name (READ UNCOMMITTED PL-1,
READ COMMITTED PL-2, REPEATABLE READ PL-2.99).
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
    """One statement of one session. The anomaly's predicate finds a step by its label."""

    session: str
    sql: str
    label: str = ""

    @property
    def writes(self) -> bool:
        """Whether the statement changes rows."""
        return self.sql.startswith(("INSERT", "UPDATE", "DELETE"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An anomaly: the schedule that provokes it and the predicate that detects it."""

    name: str
    title: str
    meaning: str
    """The effect on an application, in one sentence."""
    steps: tuple[Step, ...]
    needs: tuple[str, ...]
    """The sessions that must have committed. An aborted transaction's reads are no anomaly."""
    anomaly: Callable[[Transcript], bool]
    standard_from: Level
    """The weakest level at which the standard prevents it."""
    standard_basis: str
    documented_from: Level
    """The weakest level at which PostgreSQL prevents it, according to its manual."""
    documented_basis: str
    late: tuple[str, ...] = ()
    """Sessions that begin right before their first step; the others begin before the first step of all."""

    @property
    def schedule(self) -> tuple[tuple[str, Step | None], ...]:
        """The statements in order, each with its session; None is the opening of the session."""
        statements: list[tuple[str, Step | None]] = [(s, None) for s in self.sessions if s not in self.late]
        for step in self.steps:
            if (step.session, None) not in statements:
                statements.append((step.session, None))
            statements.append((step.session, step))
        return tuple(statements)

    @property
    def sessions(self) -> tuple[str, ...]:
        """The sessions in order of their first step."""
        return tuple(dict.fromkeys(step.session for step in self.steps))

    def standard(self, level: Level) -> Rule:
        """Whether the standard allows this anomaly at this level."""
        return _rule(self.standard_from, level)

    def basis(self, level: Level) -> str:
        """The source of `standard`. SQL-92 defines SERIALIZABLE as serializable."""
        return "SQL-92 4.28: SERIALIZABLE means serializable" if level == "SERIALIZABLE" else self.standard_basis

    def silent(self, level: Level) -> bool:
        """Whether SQL-92 is silent and `standard` is taken from Berenson and Adya."""
        return not self.basis(level).startswith("SQL-92")

    def documented(self, level: Level) -> Rule:
        """Whether PostgreSQL's manual documents this anomaly as prevented at this level."""
        return _rule(self.documented_from, level)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A schedule to run. The steps of a round are sent together; the next round follows when all have ended or wait."""

    level: Level
    setup: tuple[str, ...]
    rounds: tuple[tuple[Step, ...], ...]
    final: str
    cleanup: tuple[str, ...]

    @property
    def sessions(self) -> tuple[str, ...]:
        """All sessions, in order of their first step."""
        return tuple(dict.fromkeys(step.session for round_ in self.rounds for step in round_))


def _rule(weakest: Level, level: Level) -> Rule:
    return "prevented" if LEVELS.index(level) >= LEVELS.index(weakest) else "possible"
