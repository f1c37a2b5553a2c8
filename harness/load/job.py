"""A load host's job: a load, where to send it, and this host's share of it. One JSON object on the wire.

Several load hosts, and several processes on one host, share a job by *stripes*: stripe `index` of `count`
sends the requests number `index`, `index + count`, `index + 2 * count` … of the whole job. Sequence numbers
are therefore unique over all stripes, and fixed arrivals of the stripes together are those of one generator.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from harness.errors import UsageError
from harness.load.decode import decode
from harness.load.spec import LoadSpec, check_name, check_positive, job_error

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

    def to_dict(self) -> dict[str, object]:
        """The JSON object that `decode_job` reads."""
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


def decode_job(data: object) -> Job:
    """A job from decoded JSON; raises `UsageError` with a message of one line."""
    try:
        return decode(Job, data, "", strict=True)
    except ValueError as error:
        raise UsageError(f"load job: {str(error).lstrip('.: ')}") from None
