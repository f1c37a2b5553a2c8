"""The published claims about SQLite and PostgreSQL that sqlite-vs-postgres compares with measured values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One published claim: its values, and the improvement over SQLite that it requires."""

    name: str
    of: str
    """The load that was measured."""
    unit: str
    sqlite: str
    postgres: str
    change: str
    holds: Callable[[float, float], bool]
    """(SQLite, PostgreSQL) -> whether the improvement is as large as claimed."""
    bound: float | None = None
    """PostgreSQL's value over SQLite's beyond which the claim holds, for the claims about time."""


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="success rate", of="of the burst",
        unit="%", sqlite="30 %", postgres="100 %", change="more than +200 %",
        holds=lambda a, b: b / a - 1 > 2.0 if a else b > 0,
    ),
    Claim(
        name="mean response", of="acknowledged responses of the burst",
        unit="ms", sqlite="500 ms", postgres="50 ms", change="more than 80 % less",
        holds=lambda a, b: a > 0 and 1 - b / a > 0.8, bound=0.2,
    ),
    Claim(
        name="throughput", of="the best steady load",
        unit="requests/s", sqlite="100", postgres="1,000", change="more than +800 %",
        holds=lambda a, b: b / a - 1 > 8.0 if a else b > 0, bound=9.0,
    ),
    Claim(
        name="error rate", of="the steady load with the most clients",
        unit="%", sqlite="15 %", postgres="0.1 %", change="99.3 % less",
        holds=lambda a, b: a > 0 and 1 - b / a >= 0.993,
    ),
    Claim(
        name="concurrent connections", of="the most clients of a steady load without errors",
        unit="clients", sqlite="1 in effect", postgres="100+", change="+9,900 %",
        holds=lambda a, b: a <= 1 and b >= 100,
    ),
)  # fmt: skip
