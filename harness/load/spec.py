"""The load of a trial: which requests, how often, over how many connections. Scenarios build it, load hosts send it.

Every class checks its values when it is built and raises one `UsageError` that names the field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import UsageError
from harness.load.transactions import Transactions
from harness.model import Mode

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
"""Not HEAD: its responses cannot be framed without knowing the request."""
KeyKind = Literal["one", "uniform", "zipf", "cycle"]
Arrivals = Literal["fixed", "poisson"]
Release = Literal["together", "ramp"]
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def job_error(where: str, problem: str) -> UsageError:
    """The error for a bad value in a load job; `where` names the field."""
    return UsageError(f"load job: {where}: {problem}")


def check_name(where: str, value: str) -> None:
    """Raises `UsageError` unless the value can be part of a file name and of a header."""
    if not NAME.fullmatch(value):
        raise job_error(where, f"{value!r} must have 1 to 64 letters, digits, '.', '_' or '-'")


def check_positive(where: str, value: float | None) -> None:
    """Raises `UsageError` unless the value is None, or finite and above 0."""
    if value is not None and not (value > 0 and math.isfinite(value)):
        raise job_error(where, f"must be above 0, not {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kind of request. `{key}` and `{n}` (the sequence number, 12 digits) are filled in paths and body strings."""

    name: str
    method: Method = "POST"
    path: str = ""
    paths: tuple[str, ...] = ()
    """Used instead of `path`, in turn, request by request (one per app host, for example)."""
    weight: float = 1.0
    body: Any = None
    """A JSON value, or None for a request without a body."""
    transactions: Transactions | None = None
    """Draws a transaction for each request: the field `ops` of the body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency: bool = False
    """Send `Idempotency-Key: <run_tag>-<load_host>-<seq>` and keep it in the sample's `id`."""
    twins: float = 0.0
    """Closed mode: share of the requests that repeat the Idempotency-Key, and all else, of one that is in flight."""
    retries: int = 0
    """Open mode: how often a request is sent again, with the same Idempotency-Key and a growing jittered delay, when it
    ended `unknown` or with 503. Each time is a sample, due when the first was."""
    value: str = ""
    """Field of the response that must hold an integer, kept as the sample's `value`; empty: none is expected."""
    capture: tuple[str, ...] = ()
    """Fields of the response to keep: numbers as columns `c_<name>`, anything else in captures.jsonl."""

    def __post_init__(self) -> None:
        where = f"operations[{self.name!r}]"
        check_name(f"{where}.name", self.name)
        if bool(self.path) == bool(self.paths):
            raise job_error(where, "give either path or paths")
        for path in self.targets:
            if not re.fullmatch(r"/[!-~]*", path):
                raise job_error(where, f"path {path!r} must start with / and be printable ASCII without spaces")
        check_positive(f"{where}.weight", self.weight)
        if not 0 <= self.twins <= 0.5 or (self.twins and not self.idempotency):
            raise job_error(where, "twins must be a share up to 0.5 of requests with idempotency")
        if not 0 <= self.retries <= 10 or (self.retries and not self.idempotency):
            raise job_error(where, "retries must be at most 10, of requests with idempotency")
        for name, text in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[ -~]*", text):
                raise job_error(where, f"header {name!r} is not printable ASCII on one line")
        if self.transactions and not isinstance(self.body, dict):
            raise job_error(where, "transactions need an object as body")
        for name in self.capture:
            check_name(f"{where}.capture", name)

    @property
    def targets(self) -> tuple[str, ...]:
        """The request's paths, in turn."""
        return self.paths or (self.path,)

    def contains(self, placeholder: str) -> bool:
        """Whether paths or body contain a placeholder such as `{key}`."""
        return placeholder in json.dumps([self.body, self.targets])


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which `{key}` a request gets: `<prefix>-<i>` with i from 0 to count - 1.

    `one`: always 0. `uniform`, `zipf` (rank r with weight r**-s): drawn with the job's seed. `cycle`: in turn.
    """

    kind: KeyKind = "one"
    prefix: str = "hot"
    count: int = 1
    s: float = 1.1

    def __post_init__(self) -> None:
        check_name("keys.prefix", self.prefix)
        if not 1 <= self.count <= 10_000_000:
            raise job_error("keys.count", f"{self.count} is not within 1 to 10,000,000")
        check_positive("keys.s", self.s)

    def name(self, index: int) -> str:
        """The key of this index."""
        return f"{self.prefix}-{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """Load before the measured phase: at least `seconds`, until steady, at most `max_seconds` (see steady_state.py).

    With several agents it may last about a second longer, because each needs advance notice (see coordinator.py).
    """

    seconds: float = 3.0
    max_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= self.max_seconds < math.inf:
            raise job_error("warmup", "needs 0 < seconds <= max_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """The load of one lane. Clients, requests and rate are totals over all load hosts."""

    mode: Mode
    """`closed`: a client sends its next request when the last one is answered. `open`: requests are due at `rate`."""
    clients: int
    """Connections; in open mode the most that may be open."""
    operations: tuple[Operation, ...]
    requests: int | None = None
    seconds: float | None = None
    """Requests or seconds of the measured phase; with both, the first limit reached ends it."""
    rate: float | None = None
    """Requests per second, open mode only."""
    arrivals: Arrivals = "fixed"
    release: Release = "together"
    """Closed mode: all clients start `together`, or spread over the first second (`ramp`)."""
    timeout_s: float = 30.0
    keys: Keys = field(default_factory=Keys)
    samples: bool = True
    """Keep every sample. Without: constant memory; histograms, one-second rows and counts by key remain."""
    warmup: Warmup | None = None

    def __post_init__(self) -> None:
        if not self.operations:
            raise job_error("operations", "needs at least one")
        if len({op.name for op in self.operations}) < len(self.operations):
            raise job_error("operations", "two have the same name")
        if self.mode == "closed" and self.rate is not None:
            raise job_error("rate", "a rate makes the load open; leave it out in closed mode")
        if self.mode == "open" and self.rate is None:
            raise job_error("rate", "open mode needs a rate (requests per second)")
        if self.mode == "open" and any(op.twins for op in self.operations):
            raise job_error("operations", "twins need closed mode")
        if self.mode == "closed" and any(op.retries for op in self.operations):
            raise job_error("operations", "retries need open mode")
        if self.requests is None and self.seconds is None:
            raise job_error("requests", "give requests, seconds or both")
        for name in ("clients", "requests", "seconds", "rate", "timeout_s"):
            check_positive(name, getattr(self, name))

    @property
    def uses_keys(self) -> bool:
        """Whether any request contains its key."""
        return any(op.contains("{key}") for op in self.operations)

    @property
    def captures(self) -> tuple[str, ...]:
        """The capture fields of all operations, each once."""
        return tuple(dict.fromkeys(name for op in self.operations for name in op.capture))
