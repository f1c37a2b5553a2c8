"""Each chart with its rows and a text that it draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harness.analysis.scaling_law import UslFit, fit_usl
from harness.report.charts import (
    bars,
    correctness,
    drawing,
    faults,
    outcomes,
    over_time,
    requests,
    slowest,
    speed,
    speed_up,
    strategies,
    telemetry,
    theme,
)

LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
FIT = fit_usl([(n, 100 * n / (1 + 0.05 * (n - 1))) for n in (1, 2, 3, 4, 6, 8)], shared_cores=True, resamples=50)
assert isinstance(FIT, UslFit)

Rows = Sequence[Mapping[str, Any]]
CHARTS: dict[str, tuple[Callable[..., theme.Spec], Rows, dict[str, Any]]] = {
    "percentile_curve": (
        speed.percentile_curve,
        [
            {"series": series, "kind": kind, "percent": percent, "ms": 100 / (100 - percent)}
            for series in ("upsert", "coalesce")
            for kind in ("latency", "service")
            for percent in (50, 90, 99, 99.9)
        ],
        {},
    ),
    "over_time": (
        over_time.over_time,
        [
            {"second": str(n), "ok": "300", "fail": "1", "unknown": "0", "p50_ms": "5", "p95_ms": "9.5", "p99_ms": ""}
            for n in range(9)
        ],
        {
            "below": [
                {"panel": panel, "name": name, "second": n, "mean": 10.0 * n}
                for panel in over_time.BELOW
                for name in ("app", "database")
                for n in range(9)
            ]
        },
    ),
    "spread": (speed.spread, [{"host": f"app-{n}", "requests": 250 + n} for n in range(4)], {}),
    "scaling": (speed.scaling, [{"hosts": n, "rps": 100.0 * n} for n in (1, 1, 2, 4)], {}),
    "scaling with its law": (speed.scaling, [{"hosts": n, "rps": 99.0 * n} for n in (1, 2, 3, 4, 6, 8)], {"fit": FIT}),
    "strategies": (
        strategies.strategies,
        [
            {"strategy": name, "keys": keys, "rps": 900, "ms": 12.5, "lost": lost}
            for name, lost in (("upsert", 0), ("unsafe", 412))
            for keys in ("hot key", "1,000 keys")
        ],
        {},
    ),
    "outcomes": (
        outcomes.outcomes,
        [
            {
                "cell": outcomes.wrapped(f"{name}, burst of 1,000 clients"),
                "ok": 310,
                "fail": 680,
                "unknown": 10,
                "lost": lost,
            }
            for name, lost in (("naive SQLite", 0), ("PostgreSQL", 4))
        ],
        {},
    ),
    "fault_course": (
        faults.over_time,
        [{"at_s": s, "ok": 9, "fail": 1, "unknown": 0, "p50_ms": 5.0, "max_ms": 9.0} for s in range(4)],
        {"bands": [{"fault": "db-crash", "from_s": 1.0, "to_s": 2.0}]},
    ),
    "speed_up": (
        speed_up.speed_up,
        [
            {"bound": bound, "hosts": n, "value": 0.9 * n, "low": 0.8 * n, "high": n, "wanted": 0.85 * n}
            for bound in ("pool-bound", "CPU-bound upsert")
            for n in (1, 2, 4, 8)
        ],
        {},
    ),
    "bars": (bars.bars, [{"cell": f"{n} rows", "value": n, "text": str(n)} for n in (1, 100)], {"unit": "rows/s"}),
    "slowest": (
        slowest.slowest,
        [{"cell": cell, "cause": cause, "share": 0.5} for cell in ("a", "b") for cause in ("row lock", "pool")],
        {},
    ),
    "over_the_quick": (
        requests.over_the_quick,
        [
            {"cell": cell, "lane": lane, "from_s": begin, "to_s": begin + seconds, "ms": 1e3 * seconds}
            for cell in ("same row", "other row")
            for lane, begin, seconds in (("quick", 0.5, 0.2), ("quick", 1.5, 0.1), ("long", 0, 5.0))
        ],
        {},
    ),
    "pairs": (
        requests.pairs,
        [{"cell": "through the service", "pair": n, "kind": kind} for n, kind in enumerate(requests.PAIRS)],
        {},
    ),
    "pool_sweep": (speed.pool_sweep, [{"pool": n, "seconds": 2 / n} for n in (1, 5, 10, 20, 50)], {"knee": 20}),
    "convergence": (
        correctness.convergence,
        [{"key": f"key-{n}", "acknowledged": 100, "final": 100 - n % 3, "unknown": 0} for n in range(30)],
        {},
    ),
    "small_multiples": (
        telemetry.small_multiples,
        [
            {"panel": panel, "name": f"{panel} {n}", "second": s, "mean": None if s == 4 else s, "peak": 2 * s}
            for panel in ("CPU used, % of the host's cap", "memory, MiB a host")
            for n in (1, 2)
            for s in range(9)
        ],
        {"trials": [{"order": 1, "begin": 0.5, "end": 3.0}, {"order": 2, "begin": 5.0, "end": 9.0}]},
    ),
    "isolation": (
        correctness.isolation,
        [
            {"case": case, "level": level, "standard": "possible", "documented": "prevented", "kind": "waited"}
            for case in ("G0", "P4")
            for level in LEVELS
        ],
        {},
    ),
}


def draw(spec: theme.Spec) -> str:
    text = drawing.svg(spec)
    assert text.startswith("<svg")
    return text


def values(spec: Any, key: str) -> Iterator[Any]:
    """Returns all values stored under `key` anywhere in a specification."""
    if isinstance(spec, Mapping):
        for name, value in spec.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(spec, list):
        for item in spec:
            yield from values(item, key)
