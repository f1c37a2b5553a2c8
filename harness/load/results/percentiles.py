"""The percentiles of a histogram, as a summary stores them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from harness.load.results import histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of a histogram (None: too few values to carry one), its mean and its number of values."""

    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    max_ms: float | None = None
    mean_ms: float | None = None
    count: int = 0

    @classmethod
    def of(cls, counts: histogram.Counts) -> Self:
        """The percentiles of a histogram of µs."""
        quantiles_us = histogram.quantiles_us(counts, (0.5, 0.9, 0.95, 0.99, 0.999, 1.0))
        p50, p90, p95, p99, p999, longest, mean = map(_ms, (*quantiles_us, histogram.mean_us(counts)))
        return cls(
            p50_ms=p50, p90_ms=p90, p95_ms=p95, p99_ms=p99, p999_ms=p999, max_ms=longest, mean_ms=mean,
            count=histogram.total(counts),
        )  # fmt: skip


def _ms(us: float | None) -> float | None:
    return None if us is None else us / 1000


NO_VALUES = Percentiles()
"""Of an empty histogram."""
