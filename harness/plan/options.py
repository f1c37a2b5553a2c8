"""What the user asked for, as typed values: every option of `bench` is parsed and judged here, once.

Pure. The options arrive as the strings of the command line (Invoke would answer a bad integer with a
traceback); a value that cannot be is a UsageError which names the option, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.model import BACKENDS, MAX_HOSTS, STRATEGIES, Backend, Mode
from harness.text import nearest

MAX_CLIENTS = 20_000
MAX_REQUESTS = 50_000_000
MAX_SECONDS = 86_400.0
MAX_RATE = 1_000_000.0
MAX_REPEAT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `bench` was asked for; None means "the scenario's own default"."""

    scenarios: tuple[str, ...]
    hosts: int | None = None
    backends: tuple[Backend, ...] = ()
    strategies: tuple[str, ...] = ()
    requests: int | None = None
    clients: int | None = None
    rate: float | None = None
    seconds: float | None = None
    repeat: int | None = None
    seed: int = 1
    quick: bool = False
    samples: bool = False
    """Keep the samples of long trials too."""

    @property
    def mode(self) -> Mode:
        """A rate makes the load open: requests come when they are due, whatever the answers do."""
        return "closed" if self.rate is None else "open"


def whole(option: str, text: str | None, low: int, high: int) -> int | None:
    """`text` as an integer within low..high; None stays None. Raises UsageError."""
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError:
        raise UsageError(f"--{option} {text!r} is not a whole number", hint=f"give {low} to {high:,}") from None
    if not low <= value <= high:
        raise UsageError(f"--{option} {value:,} is out of range", hint=f"give {low} to {high:,}")
    return value


def positive(option: str, text: str | None, high: float) -> float | None:
    """`text` as a number above 0 and at most `high`; None stays None. Raises UsageError."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise UsageError(
            f"--{option} {text!r} is not a number", hint=f"give a number above 0, at most {high:,.0f}"
        ) from None
    if not 0 < value <= high:  # also refuses nan
        raise UsageError(f"--{option} {text} is out of range", hint=f"give a number above 0, at most {high:,.0f}")
    return value


def names(option: str, text: str | None, known: Sequence[str]) -> tuple[str, ...]:
    """A comma-separated list of known names; None gives the empty tuple. Raises UsageError."""
    if text is None:
        return ()
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not chosen:
        raise UsageError(f"--{option} is empty", hint=f"known: {', '.join(known)}")
    for name in chosen:
        if name not in known:
            raise UsageError(f"--{option}: there is no '{name}'", hint=nearest(name, known))
    return chosen


def parse_options(
    *,
    known_scenarios: Sequence[str],
    scenario: str | None = None,
    hosts: str | None = None,
    backend: str | None = None,
    strategy: str | None = None,
    requests: str | None = None,
    clients: str | None = None,
    rate: str | None = None,
    seconds: str | None = None,
    repeat: str | None = None,
    seed: str | None = None,
    quick: bool = False,
    samples: bool = False,
) -> Options:
    """All of `bench`'s options, judged together. Raises UsageError for the first that cannot be."""
    if rate is not None and clients is not None:
        raise UsageError(
            "--rate and --clients together say the load twice: a rate is open, clients are the closed model's",
            hint="open model: --rate with --seconds or --requests; closed model: --clients with either",
        )
    parsed_seed = whole("seed", seed, 0, 2**32 - 1)
    return Options(
        scenarios=names("scenario", scenario, known_scenarios) or tuple(known_scenarios),
        hosts=whole("hosts", hosts, 1, MAX_HOSTS),
        backends=tuple(name for name in BACKENDS if name in names("backend", backend, BACKENDS)),
        strategies=names("strategy", strategy, STRATEGIES),
        requests=whole("requests", requests, 1, MAX_REQUESTS),
        clients=whole("clients", clients, 1, MAX_CLIENTS),
        rate=positive("rate", rate, MAX_RATE),
        seconds=positive("seconds", seconds, MAX_SECONDS),
        repeat=whole("repeat", repeat, 1, MAX_REPEAT),
        seed=1 if parsed_seed is None else parsed_seed,
        quick=quick,
        samples=samples,
    )
