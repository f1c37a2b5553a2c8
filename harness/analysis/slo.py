"""A service level objective (SLO): limits of latency percentiles and of the share of errors. Pure.

`p99:50ms,errors:0.1%` holds where 99 % of the requests were answered within 50 ms of the instant they were due, and at
most 0.1 % were not acknowledged. Without `errors` the limit of errors is DEFAULT_ERRORS: a service that refuses all
requests is quick.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from harness.errors import UsageError
from harness.text import nearest, printable

ERRORS = "errors"
FIGURE = {"p50": "p50_ms", "p95": "p95_ms", "p99": "p99_ms", "p99.9": "p999_ms", "max": "max_ms"}
"""Metric -> its column of trials.csv; seconds of timeline.csv have p50, p95 and p99."""
METRICS = (*FIGURE, ERRORS)
DEFAULT_ERRORS = 0.001
MAX_MS = 3_600_000.0
_MS = {"us": 0.001, "µs": 0.001, "ms": 1.0, "s": 1000.0}
_VALUE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?) ?(%|us|µs|ms|s)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The limit of one metric: in ms, or for `errors` the largest share of requests."""

    metric: str
    limit: float

    def __str__(self) -> str:
        """As typed, such as `p99:50ms`."""
        return f"{self.metric}:{self._with_unit(self.limit)}"

    def written(self, value: float) -> str:
        """A measured value with its unit: three digits, more where these would not tell it from the limit."""
        rounded = float(f"{value:.3g}")
        return self._with_unit(rounded if (rounded <= self.limit) == (value <= self.limit) else value)

    def _with_unit(self, value: float) -> str:
        if self.metric == ERRORS:
            return f"{100 * value:.6g}%"
        return f"{value / 1000:.9g}s" if value >= 1000 else f"{value:.9g}ms"

    def measured(self, figures: Mapping[str, float | None]) -> float | None:
        """The metric's value from the figures of a trial or a second; None where too few requests carry it."""
        if self.metric != ERRORS:
            return figures.get(FIGURE[self.metric])
        counts = [figures.get(name) for name in ("ok", "fail", "unknown")]
        known = [count for count in counts if count is not None]
        total = sum(known)
        return (total - known[0]) / total if len(known) == len(counts) and total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One bound, what was measured, and whether it holds (None: not measured)."""

    bound: Bound
    value: float | None

    @property
    def held(self) -> bool | None:
        """Whether the value is within the limit; None where it was not measured."""
        return None if self.value is None else self.value <= self.bound.limit

    def __str__(self) -> str:
        """Such as `p99 61.2ms, above 50ms`."""
        if self.value is None:
            return f"{self.bound.metric} not measured: too few requests"
        relation = "within" if self.held else "above"
        return (
            f"{self.bound.metric} {self.bound.written(self.value)}, {relation} {self.bound.written(self.bound.limit)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """The bounds of an SLO in the order of METRICS; one of them is about errors."""

    bounds: tuple[Bound, ...]

    def __str__(self) -> str:
        """As typed, with the limit of errors."""
        return ",".join(map(str, self.bounds))

    @classmethod
    def parse(cls, option: str, text: str) -> Self:
        """The SLO of comma-separated `metric:limit`. Raises UsageError."""
        limits: dict[str, float] = {}
        for clause in text.split(","):
            metric, colon, limit = (part.strip() for part in clause.strip().partition(":"))
            where = f"--{option} {printable(clause.strip(), 60)!r}"
            if metric not in METRICS:
                raise UsageError(
                    f"{where}: there is no metric '{printable(metric, 40)}'", hint=nearest(metric, METRICS)
                )
            if not colon or not limit:
                raise UsageError(f"{where} has no limit", hint=_example(metric))
            if metric in limits:
                raise UsageError(f"--{option}: {metric} is given twice", hint="give each metric one limit")
            limits[metric] = _limit(where, metric, limit)
        limits.setdefault(ERRORS, DEFAULT_ERRORS)
        return cls(bounds=tuple(Bound(metric=name, limit=limits[name]) for name in METRICS if name in limits))

    def results(self, figures: Mapping[str, float | None]) -> tuple[Result, ...]:
        """Each bound with its value in these figures of a trial or of a second."""
        return tuple(Result(bound=bound, value=bound.measured(figures)) for bound in self.bounds)

    def holds(self, figures: Mapping[str, float | None]) -> bool | None:
        """Whether all bounds hold: False if one is broken, None if none is and one was not measured."""
        held = [result.held for result in self.results(figures)]
        if False in held:
            return False
        return None if None in held else True


def first_second(bound: Bound, seconds: Iterable[Mapping[str, float | None]]) -> tuple[int, str] | None:
    """The first second whose own requests break the bound, and the figure that shows it; None where no second does.

    `seconds`: rows with `second` and the columns of a trial's figures. Few requests carry no p99, but a p50 or p95
    above the limit shows that the p99 is too. p99.9 and max are not known by second.
    """
    upto = METRICS.index(bound.metric) + 1
    metrics = [bound.metric] if bound.metric == ERRORS else METRICS[:upto][::-1]
    shown = [Bound(metric=name, limit=bound.limit) for name in metrics]
    for row in seconds:
        second = row.get("second")
        for one in shown:
            value = one.measured(row)
            if value is not None and value > bound.limit and second is not None:
                return int(second), f"{one.metric} {one.written(value)}"
    return None


def _example(metric: str) -> str:
    return "such as errors:0.1%" if metric == ERRORS else f"such as {metric}:50ms"


def _limit(where: str, metric: str, text: str) -> float:
    match = _VALUE.fullmatch(text)
    unit = match[2] if match else None
    if metric == ERRORS:
        if match is None or unit != "%" or not float(match[1]) < 100:
            raise UsageError(f"{where} is not a share of errors", hint="give 0% to below 100%, such as errors:0.1%")
        return float(match[1]) / 100
    if match is None or unit not in _MS:
        raise UsageError(f"{where} is not a time", hint=f"give a number with us, ms or s, {_example(metric)}")
    limit_ms = float(match[1]) * _MS[unit]
    if not 0 < limit_ms <= MAX_MS:
        raise UsageError(f"{where} is out of range", hint=f"give a time above 0, at most {MAX_MS / 1000:,.0f}s")
    return limit_ms
