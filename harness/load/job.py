"""A load host's job: a load, where to send it, and this host's share of it. One JSON object on the wire.

Several load hosts, and several processes on one host, share a job by *stripes*: stripe `index` of `count`
sends the requests number `index`, `index + count`, `index + 2 * count` … of the whole job. Sequence numbers
are therefore unique over all stripes, and fixed arrivals of the stripes together are those of one generator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Self, TypeVar

from harness.load.spec import Keys, LoadSpec, Operation, Warmup, check_name, check_positive, job_error

FORMAT = 1
MAX_PROCESSES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go. `ca`: a PEM file to trust with `tls`; empty: the system's certificates.

    `address`: where to connect, instead of resolving `host`. Requests and certificates still name `host`.
    """

    host: str
    port: int
    tls: bool = False
    ca: str = ""
    address: str = ""

    def __post_init__(self) -> None:
        if not self.host or re.search(r"[\s/]", self.host):
            raise job_error("target.host", f"{self.host!r} is not a host name or address")
        if not 0 < self.port < 65536:
            raise job_error("target.port", f"{self.port} is not a port (1 to 65535)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(LoadSpec):
    """A load with its endpoint and this host's stripe of it."""

    format: int
    target: Endpoint
    load_host: str
    run_tag: str
    out: str
    """Folder for the results, created if missing."""
    seed: int = 0
    processes: int = 1
    host_index: int = 0
    host_count: int = 1

    def __post_init__(self) -> None:
        LoadSpec.__post_init__(self)
        if self.format != FORMAT:
            raise job_error("format", f"this agent reads format {FORMAT}, not {self.format}")
        if not self.out:
            raise job_error("out", "needs a folder for the results")
        check_name("load_host", self.load_host)
        check_name("run_tag", self.run_tag)
        check_positive("processes", self.processes)
        check_positive("host_count", self.host_count)
        if self.processes > MAX_PROCESSES:
            raise job_error("processes", f"at most {MAX_PROCESSES}, not {self.processes}")
        if not 0 <= self.host_index < self.host_count:
            raise job_error("host_index", f"{self.host_index} is not below host_count {self.host_count}")
        total = self.host_count * self.processes
        if self.clients < total:
            raise job_error("clients", f"{self.clients} cannot be shared by {total} processes")

    @classmethod
    def of(cls, spec: LoadSpec, **stripe: Any) -> Self:
        """The job that sends `spec`; `stripe` holds the fields that LoadSpec lacks."""
        return cls(format=FORMAT, **{f.name: getattr(spec, f.name) for f in fields(spec)}, **stripe)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `decode` reads."""
        return asdict(self)

    def stripe(self, total: int) -> int:
        """How many of `total` items belong to this stripe."""
        return total // self.host_count + (self.host_index < total % self.host_count)

    def process(self, number: int) -> Job:
        """The job of one process of this host: a finer stripe with its own folder."""
        return replace(
            self,
            processes=1,
            host_index=self.host_index + self.host_count * number,
            host_count=self.host_count * self.processes,
            out=f"{self.out}/process-{number}",
        )

    def id(self, seq: int) -> str:
        """The Idempotency-Key of request `seq`."""
        return f"{self.run_tag}-{self.load_host}-{seq}"


_T = TypeVar("_T")
_Reader = Callable[[str, Any], Any]
"""(name of the field, decoded JSON) -> the value; raises `UsageError`."""


def _read(*types: type) -> _Reader:
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)

    def read(where: str, value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise job_error(where, f"must be {names}, not {value!r}")
        return value

    return read


def _read_strings(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise job_error(where, "must be a list of strings")
    return tuple(value)


def _read_headers(where: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise job_error(where, "must be an object of strings")
    return value


def _read_object(cls: type[_T], readers: Mapping[str, _Reader], where: str, value: Any) -> _T:
    """An instance of a dataclass from a JSON object; absent fields take their defaults."""
    if not isinstance(value, dict):
        raise job_error(where, f"must be an object, not {type(value).__name__}")
    for name in value:
        if name not in readers:
            raise job_error(where, f"unknown key {name!r} (known: {', '.join(readers)})")
    for f in fields(cls):  # type: ignore[arg-type]  # only dataclasses come here
        if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
            raise job_error(where, f"{f.name} is missing")
    return cls(**{name: readers[name](f"{where}.{name}", item) for name, item in value.items()})


def _read_operations(where: str, value: Any) -> tuple[Operation, ...]:
    if not isinstance(value, list):
        raise job_error(where, "must be a list")
    return tuple(_read_object(Operation, _OPERATION, f"{where}[{i}]", item) for i, item in enumerate(value))


_text, _flag, _whole, _number = _read(str), _read(bool), _read(int), _read(int, float)
_whole_or_none, _number_or_none = _read(int, type(None)), _read(int, float, type(None))

_ENDPOINT: Mapping[str, _Reader] = {"host": _text, "port": _whole, "tls": _flag, "ca": _text, "address": _text}
_KEYS: Mapping[str, _Reader] = {"kind": _text, "prefix": _text, "count": _whole, "s": _number}
_WARMUP: Mapping[str, _Reader] = {"seconds": _number, "max_seconds": _number}
_OPERATION: Mapping[str, _Reader] = {
    "name": _text,
    "method": _text,
    "path": _text,
    "paths": _read_strings,
    "weight": _number,
    "body": lambda _, value: value,
    "headers": _read_headers,
    "idempotency": _flag,
    "value": _text,
    "capture": _read_strings,
}
_JOB: Mapping[str, _Reader] = {
    "format": _whole,
    "target": lambda where, value: _read_object(Endpoint, _ENDPOINT, where, value),
    "mode": _text,
    "clients": _whole,
    "operations": _read_operations,
    "load_host": _text,
    "run_tag": _text,
    "out": _text,
    "requests": _whole_or_none,
    "seconds": _number_or_none,
    "rate": _number_or_none,
    "arrivals": _text,
    "release": _text,
    "timeout_s": _number,
    "seed": _whole,
    "processes": _whole,
    "host_index": _whole,
    "host_count": _whole,
    "keys": lambda where, value: _read_object(Keys, _KEYS, where, value),
    "samples": _flag,
    "warmup": lambda where, value: None if value is None else _read_object(Warmup, _WARMUP, where, value),
}


def decode(data: Any) -> Job:
    """A job from decoded JSON; raises `UsageError` with a message of one line."""
    return _read_object(Job, _JOB, "job", data)
