"""The job a load host is given: what to send, how often, from how many connections.

One JSON object, decoded strictly by `from_dict`: whatever is wrong with it is one `UsageError` that names the place.

Several load hosts, and several processes on one host, share a job by *stripes*: stripe `index` of `count`
sends the requests number `index`, `index + count`, `index + 2 * count` … of the whole job. So sequence numbers
are unique over all stripes, and fixed arrivals of the stripes together are those of one generator.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from harness.errors import UsageError

FORMAT = 1
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # HEAD is missing: its answer cannot be framed alone
KEY_KINDS = ("one", "uniform", "zipf", "cycle")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_PROCESSES = 64

_TYPES: Mapping[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
}


def _fail(where: str, what: str) -> UsageError:
    return UsageError(f"load job: {where}: {what}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go. `ca` is a PEM file to trust with `tls`; empty means the system's.

    `address`: where to connect to, instead of looking `host` up, which requests and certificates still name.
    """

    host: str
    port: int
    tls: bool = False
    ca: str = ""
    address: str = ""

    def __post_init__(self) -> None:
        if not self.host or re.search(r"[\s/]", self.host):
            raise _fail("target.host", f"{self.host!r} is not a host name or address")
        if not 0 < self.port < 65536:
            raise _fail("target.port", f"{self.port} is not a port (1 to 65535)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kind of request. `{key}` and `{n}` (the sequence number, 12 digits) are filled in paths and body strings."""

    name: str
    method: str = "POST"
    path: str = ""
    paths: tuple[str, ...] = ()
    """Instead of `path`: used in turn, request by request (one per app host, say)."""
    weight: float = 1.0
    body: Any = None
    """A JSON value, or None for a request without a body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency: bool = False
    """Send `Idempotency-Key: <run_tag>-<load_host>-<seq>` and keep it in the sample's `id`."""
    value: str = ""
    """Field of the answer that must hold an integer, kept as the sample's `value`; empty: none is expected."""
    capture: tuple[str, ...] = ()
    """Fields of the answer to keep: numbers as columns `c_<name>`, anything else in captures.jsonl."""

    def __post_init__(self) -> None:
        where = f"operations[{self.name!r}]"
        if not NAME.fullmatch(self.name):
            raise _fail(where, "a name has 1 to 64 letters, digits, '.', '_' or '-'")
        if self.method not in METHODS:
            raise _fail(where, f"method {self.method!r} is not one of {', '.join(METHODS)}")
        if bool(self.path) == bool(self.paths):
            raise _fail(where, "give either path or paths")
        for path in self.targets:
            if not re.fullmatch(r"/[!-~]*", path):
                raise _fail(where, f"path {path!r} must start with / and be printable ASCII without spaces")
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise _fail(where, f"weight {self.weight:g} must be above 0")
        for name, text in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[ -~]*", str(text)):
                raise _fail(where, f"header {name!r} is not printable ASCII on one line")
        for name in self.capture:
            if not NAME.fullmatch(name):
                raise _fail(where, f"capture {name!r} is not a field name")

    @property
    def targets(self) -> tuple[str, ...]:
        return self.paths or (self.path,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Which `{key}` a request gets: `<prefix>-<i>` with i from 0 to count - 1.

    `one`: always 0. `uniform`, `zipf` (rank r with weight r**-s): drawn with the job's seed. `cycle`: in turn.
    """

    kind: str = "one"
    prefix: str = "hot"
    count: int = 1
    s: float = 1.1

    def __post_init__(self) -> None:
        if self.kind not in KEY_KINDS:
            raise _fail("keys.kind", f"unknown distribution {self.kind!r} (known: {', '.join(KEY_KINDS)})")
        if not NAME.fullmatch(self.prefix):
            raise _fail("keys.prefix", "needs 1 to 64 letters, digits, '.', '_' or '-'")
        if not 1 <= self.count <= 10_000_000:
            raise _fail("keys.count", f"{self.count} is not within 1 to 10,000,000")
        if not (self.s > 0 and math.isfinite(self.s)):
            raise _fail("keys.s", f"the Zipf exponent must be above 0, not {self.s:g}")

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    """Load before the measured phase: at least `seconds`, until steady, at most `max_seconds` (see steady.py).

    Several agents need a second to hear of its end (conduct.py), so theirs may be a little longer.
    """

    seconds: float = 3.0
    max_seconds: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= self.max_seconds < math.inf:
            raise _fail("warmup", "needs 0 < seconds <= max_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a load host needs to know. Clients, requests and rate are those of all load hosts together."""

    format: int
    target: Endpoint
    mode: str
    """`closed`: each client sends when its last request was answered. `open`: requests are due by `rate`."""
    clients: int
    """Connections; in the open mode the most that may be open."""
    operations: tuple[Operation, ...]
    load_host: str
    run_tag: str
    out: str
    """Folder for the results, made if missing."""
    requests: int | None = None
    seconds: float | None = None
    """Requests or seconds of the measured phase; with both, whichever ends first."""
    rate: float | None = None
    """Requests per second, open mode only."""
    arrivals: str = "fixed"
    release: str = "together"
    """Closed mode: all clients start `together`, or spread over the first second (`ramp`)."""
    timeout_s: float = 30.0
    seed: int = 0
    processes: int = 1
    host_index: int = 0
    host_count: int = 1
    keys: Keys = field(default_factory=Keys)
    samples: bool = True
    """Keep every sample; without, memory stays flat: histograms, one-second rows and counts by key remain."""
    warmup: Warmup | None = None

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise _fail("format", f"this agent reads format {FORMAT}, not {self.format}")
        if not self.out:
            raise _fail("out", "needs a folder for the results")
        for name in ("load_host", "run_tag"):
            if not NAME.fullmatch(getattr(self, name)):
                raise _fail(name, "needs 1 to 64 letters, digits, '.', '_' or '-'")
        if not self.operations:
            raise _fail("operations", "needs at least one")
        if len({op.name for op in self.operations}) < len(self.operations):
            raise _fail("operations", "two have the same name")
        self._check_amount()
        self._check_sharing()

    def _check_amount(self) -> None:
        _one_of("mode", self.mode, ("closed", "open"))
        _one_of("arrivals", self.arrivals, ("fixed", "poisson"))
        _one_of("release", self.release, ("together", "ramp"))
        if self.mode == "closed" and self.rate is not None:
            raise _fail("rate", "a rate makes the load open; leave it out in closed mode")
        if self.mode == "open" and self.rate is None:
            raise _fail("rate", "open mode needs a rate (requests per second)")
        if self.requests is None and self.seconds is None:
            raise _fail("requests", "give requests, seconds or both")
        for name in ("clients", "requests", "seconds", "rate", "timeout_s", "processes", "host_count"):
            number = getattr(self, name)
            if number is not None and not (number > 0 and math.isfinite(number)):
                raise _fail(name, f"must be above 0, not {number:g}")

    def _check_sharing(self) -> None:
        if self.processes > MAX_PROCESSES:
            raise _fail("processes", f"at most {MAX_PROCESSES}, not {self.processes}")
        if not 0 <= self.host_index < self.host_count:
            raise _fail("host_index", f"{self.host_index} is not below host_count {self.host_count}")
        if self.clients < self.host_count * self.processes:
            raise _fail("clients", f"{self.clients} cannot be shared by {self.host_count * self.processes} processes")

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        return asdict(self)

    def stripe(self, total: int) -> int:
        """How many of `total` things are this stripe's."""
        return total // self.host_count + (self.host_index < total % self.host_count)

    def process(self, number: int) -> Job:
        """The job of one of this host's processes: a finer stripe with a folder of its own."""
        return replace(
            self,
            processes=1,
            host_index=self.host_index + self.host_count * number,
            host_count=self.host_count * self.processes,
            out=f"{self.out}/process-{number}",
        )

    @property
    def captures(self) -> tuple[str, ...]:
        """The capture fields of all operations, each once."""
        return tuple(dict.fromkeys(name for op in self.operations for name in op.capture))

    def id(self, seq: int) -> str:
        """The Idempotency-Key of request `seq`."""
        return f"{self.run_tag}-{self.load_host}-{seq}"


def _one_of(where: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise _fail(where, f"unknown {value!r} (known: {', '.join(known)})")


_T = TypeVar("_T")


def _build(cls: type[_T], data: Any, where: str, **made: Any) -> _T:
    """An instance of a dataclass from a JSON object; `made` holds the fields already built."""
    if not isinstance(data, dict):
        raise _fail(where, f"must be an object, not {type(data).__name__}")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]  # only dataclasses come here
    for key in data:
        if key not in known:
            raise _fail(where, f"unknown key {key!r} (known: {', '.join(known)})")
    values: dict[str, Any] = {}
    for name, spec in known.items():
        if name in made:
            values[name] = made[name]
        elif name not in data:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise _fail(where, f"{name} is missing")
        else:
            values[name] = _typed(f"{where}.{name}", str(spec.type), data[name])
    return cls(**values)


def _typed(where: str, kind: str, value: Any) -> Any:
    types = _TYPES.get(kind)
    if kind == "tuple[str, ...]":
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise _fail(where, "must be a list of strings")
    if kind == "Mapping[str, str]":
        if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
            return value
        raise _fail(where, "must be an object of strings")
    if types is None:
        return value
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise _fail(where, f"must be {kind}, not {value!r}")
    return value


def from_dict(data: Any) -> Job:
    """A job from decoded JSON; raises `UsageError` with one clear line."""
    if not isinstance(data, dict):
        raise _fail("job", f"must be an object, not {type(data).__name__}")
    made: dict[str, Any] = {}
    if "target" in data:
        made["target"] = _build(Endpoint, data["target"], "target")
    if "keys" in data:
        made["keys"] = _build(Keys, data["keys"], "keys")
    if data.get("warmup") is not None:
        made["warmup"] = _build(Warmup, data["warmup"], "warmup")
    if "operations" in data:
        listed = data["operations"]
        if not isinstance(listed, list):
            raise _fail("operations", "must be a list")
        made["operations"] = tuple(_build(Operation, op, f"operations[{i}]") for i, op in enumerate(listed))
    return _build(Job, data, "job", **made)
