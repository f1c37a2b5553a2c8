"""The summary of a lane: what one load process, or all processes and hosts together, counted. Pure.

The attributes are the keys of summary.json; `seconds`, `rps`, `warmup_steady` and `trend` are derived and stored for
readers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import add
from typing import Self, TypeVar

from harness.load.decode import decode
from harness.load.results import histogram
from harness.load.results.percentiles import NO_VALUES, Percentiles
from harness.load.results.process_usage import ProcessUsage
from harness.load.results.service_times import ServiceTimes
from harness.load.results.stalls import Stall, longest_ms, together_stalls
from harness.load.steady_state import STEP_MS, Row, is_steady, together, trend, windows_together

CapturedTotal = tuple[float, int]
"""Sum and number of the values of a captured field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The load host's CLOCK_MONOTONIC at the release; hosts with the same boot id share it."""

    boot_id: str
    t0_monotonic_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTotals:
    """Number of requests by outcome."""

    ok: int
    fail: int
    unknown: int

    @property
    def total(self) -> int:
        """All outcomes together."""
        return self.ok + self.fail + self.unknown

    def __add__(self, other: OutcomeTotals) -> OutcomeTotals:
        return OutcomeTotals(ok=self.ok + other.ok, fail=self.fail + other.fail, unknown=self.unknown + other.unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTotals:
    """Requests of one phase by outcome, and its errors by name; at the end `sent` is ok + fail + unknown."""

    sent: int
    ok: int
    fail: int
    unknown: int
    errors: Mapping[str, int]

    def __add__(self, other: PhaseTotals) -> PhaseTotals:
        return PhaseTotals(
            sent=self.sent + other.sent,
            ok=self.ok + other.ok,
            fail=self.fail + other.fail,
            unknown=self.unknown + other.unknown,
            errors=dict(Counter(self.errors) + Counter(other.errors)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTotals:
    """Connections opened, those of them that replaced a lost one, and responses that no request had asked for.

    `missing`: connections that the service had closed when the load began; 0 in older runs.
    """

    opened: int
    reopened: int
    out_of_step: int
    missing: int = 0

    def __add__(self, other: ConnectionTotals) -> ConnectionTotals:
        return ConnectionTotals(
            opened=self.opened + other.opened,
            reopened=self.reopened + other.reopened,
            out_of_step=self.out_of_step + other.out_of_step,
            missing=self.missing + other.missing,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSummary:
    """Counts of a lane, and how the load generator itself behaved. Times are µs since the release, None if absent."""

    format: int
    load_host: str
    """One name, or those of all hosts joined by `+`."""
    run_tag: str
    seed: int
    mode: str
    clients: int
    offered_rate: float | None
    clock: Clock
    measure_from_us: int | None
    measure_to_us: int | None
    apart_us: int = 0
    """Greatest distance between the instants at which merged stripes began to measure."""
    window: OutcomeTotals
    """Outcomes that became known inside the measured window."""
    stalls: tuple[Stall, ...] | None = None
    """Stretches of the window in which requests were in flight and none was answered; None in older runs."""
    busy_us: int | None = None
    """Time that requests spent in flight inside the window, summed over all of them; None in older runs."""
    inside: ServiceTimes | None = None
    """The same as reported by the responses; None in older runs."""
    warmup: PhaseTotals
    measure: PhaseTotals
    captured: Mapping[str, CapturedTotal] = field(default_factory=dict)
    last_due_us: int | None
    last_sent_us: int | None
    last_done_us: int | None
    peak_in_flight: int
    late: int
    """Open mode: requests that had to wait for a free connection."""
    not_sent: int
    connections: ConnectionTotals
    watch: tuple[ProcessUsage, ...]
    """One entry per load process."""
    interrupted: bool
    warmup_steps: tuple[Row, ...] = ()
    window_steps: tuple[int, ...] = ()
    """Requests completed in each step of the measured window after a warm-up; see `window_step_ms`."""
    window_step_ms: int = STEP_MS
    latency_ms: Percentiles = NO_VALUES
    """From the instant a request was due."""
    ok_ms: Percentiles = NO_VALUES
    """The same of acknowledged requests alone; without values in older runs."""
    refused_ms: Percentiles = NO_VALUES
    """The same of requests that were not acknowledged."""
    service_ms: Percentiles = NO_VALUES
    """From the instant it was sent."""
    lag_ms: Percentiles = NO_VALUES
    """Open mode: from the instant it was due until the generator started to send it."""
    clock_shared: bool = True
    """False if stripes ran on hosts with different clocks."""

    @property
    def seconds(self) -> float | None:
        """Length of the measured window; None if it has none."""
        length_us = self.length_us
        return length_us / 1e6 if length_us is not None and length_us > 0 else None

    @property
    def length_us(self) -> int | None:
        """From the start of the measured window to its end, negative if it ended before it began."""
        if self.measure_from_us is None or self.measure_to_us is None:
            return None
        return self.measure_to_us - self.measure_from_us

    @property
    def rps(self) -> float | None:
        """Acknowledged requests per second of the measured window."""
        return self.window.ok / self.seconds if self.seconds else None

    @property
    def warmup_steady(self) -> bool | None:
        """Whether the last steps of the warm-up were like those before them; None without a warm-up."""
        return is_steady(self.warmup_steps) if self.warmup_steps else None

    @property
    def trend(self) -> float | None:
        """The share by which the rate changed over the measured window, 0 without a trend, None if not known."""
        return trend(self.window_steps)

    @property
    def steady(self) -> bool | None:
        """Whether the warm-up ended in a steady state that lasted through the window; None without a warm-up."""
        return self.warmup_steady and not self.trend if self.warmup_steps else None

    @property
    def stall_ms(self) -> float | None:
        """The longest stall of the window; None where stalls were not recorded."""
        return None if self.stalls is None else longest_ms(self.stalls)

    def with_percentiles(self, histograms: Mapping[str, histogram.Counts]) -> LaneSummary:
        """The same with the percentiles of these histograms (merge.HISTOGRAMS)."""
        latency, refused = histograms["latency"], histograms["refused"]
        return replace(
            self,
            latency_ms=Percentiles.of(latency),
            ok_ms=Percentiles.of({slot: n for slot, count in latency.items() if (n := count - refused.get(slot, 0))}),
            refused_ms=Percentiles.of(refused),
            service_ms=Percentiles.of(histograms["service"]),
            lag_ms=Percentiles.of(histograms["lag"]),
        )

    @classmethod
    def from_json(cls, data: object) -> Self:
        """A summary from decoded JSON; raises ValueError that names the field of a wrong type."""
        return decode(cls, data, "summary")

    def to_json(self) -> dict[str, object]:
        """The content of summary.json."""
        return asdict(self) | {
            "seconds": self.seconds,
            "rps": self.rps,
            "warmup_steady": self.warmup_steady,
            "trend": self.trend,
        }

    @classmethod
    def merged(cls, summaries: Sequence[LaneSummary], shifts_us: Sequence[int]) -> LaneSummary:
        """One summary of all stripes, without percentiles; `shifts_us` as from merge.time_shifts.

        The window is as long as the longest of the stripes, each measured by its own clock: the rate is what all
        counted over that. `apart_us` must be small (generator_checks.py), because a stripe that measures alone has not
        measured the load of all.
        """
        first = summaries[shifts_us.index(0)]
        moved = [summary.shifted(us) for summary, us in zip(summaries, shifts_us, strict=True)]
        starts = _present(summary.measure_from_us for summary in moved)
        lengths = _present(summary.length_us for summary in summaries)
        rates = _present(summary.offered_rate for summary in summaries)
        return replace(
            first,
            load_host="+".join(sorted({summary.load_host for summary in summaries})),
            clients=sum(summary.clients for summary in summaries),
            offered_rate=sum(rates) if len(rates) == len(summaries) else None,
            measure_from_us=min(starts, default=None),
            measure_to_us=min(starts) + max(lengths) if lengths else None,
            apart_us=max(max(starts, default=0) - min(starts, default=0), *(summary.apart_us for summary in summaries)),
            window=_sum(summary.window for summary in summaries),
            busy_us=sum(_present(summary.busy_us for summary in summaries)),
            inside=_sum(summary.inside or ServiceTimes() for summary in summaries) if first.inside else None,
            stalls=together_stalls([(summary.stalls, summary.last_done_us) for summary in moved]),
            warmup=_sum(summary.warmup for summary in summaries),
            measure=_sum(summary.measure for summary in summaries),
            captured={
                name: _sum_captured(summary.captured[name] for summary in summaries if name in summary.captured)
                for name in dict.fromkeys(name for summary in summaries for name in summary.captured)
            },
            last_due_us=max(_present(summary.last_due_us for summary in moved), default=None),
            last_sent_us=max(_present(summary.last_sent_us for summary in moved), default=None),
            last_done_us=max(_present(summary.last_done_us for summary in moved), default=None),
            peak_in_flight=sum(summary.peak_in_flight for summary in summaries),
            late=sum(summary.late for summary in summaries),
            not_sent=sum(summary.not_sent for summary in summaries),
            connections=_sum(summary.connections for summary in summaries),
            watch=tuple(process for summary in summaries for process in summary.watch),
            interrupted=any(summary.interrupted for summary in summaries),
            warmup_steps=tuple(
                together(rows) for rows in zip(*(summary.warmup_steps for summary in summaries), strict=False)
            ),
            window_steps=windows_together([(one.window_step_ms, one.window_steps) for one in summaries]),
            clock_shared=is_shared([summary.clock.boot_id for summary in summaries])
            and all(summary.clock_shared for summary in summaries),
        )

    def shifted(self, us: int) -> LaneSummary:
        """The same with its start and last times moved."""
        return replace(
            self,
            measure_from_us=_plus(self.measure_from_us, us),
            stalls=self.stalls and tuple((start + us, end + us) for start, end in self.stalls),
            last_due_us=_plus(self.last_due_us, us),
            last_sent_us=_plus(self.last_sent_us, us),
            last_done_us=_plus(self.last_done_us, us),
        )


def is_shared(boot_ids: Sequence[str]) -> bool:
    """Whether hosts with these boot ids run on one kernel and so share one monotonic clock."""
    return len(set(boot_ids)) == 1 and boot_ids[0] != ""


_Totals = TypeVar("_Totals", OutcomeTotals, PhaseTotals, ConnectionTotals, ServiceTimes)


def _sum(parts: Iterable[_Totals]) -> _Totals:
    return reduce(add, parts)


def _sum_captured(parts: Iterable[CapturedTotal]) -> CapturedTotal:
    sums, numbers = zip(*parts, strict=True)
    return sum(sums), sum(numbers)


_Number = TypeVar("_Number", int, float)


def _present(values: Iterable[_Number | None]) -> list[_Number]:
    return [value for value in values if value is not None]


def _plus(at_us: int | None, shift_us: int) -> int | None:
    return None if at_us is None else at_us + shift_us
