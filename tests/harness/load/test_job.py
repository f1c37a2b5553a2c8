from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.load.job import decode_job

from .conftest import INCREMENT, job_dict

BAD: list[tuple[dict[str, Any], str]] = [
    ({"format": 99}, "format 1, not 99"),
    ({"colour": "red"}, "unknown key 'colour'"),
    ({"mode": "sideways"}, "mode: expected one of closed, open, got 'sideways'"),
    ({"rate": 5.0}, "a rate makes the load open"),
    ({"mode": "open", "seconds": 1.0}, "open mode needs a rate"),
    ({"mode": "open", "rate": -5.0, "seconds": 1.0}, "rate: must be above 0, not -5"),
    ({"mode": "open", "rate": float("nan"), "seconds": 1.0}, "rate: expected float, got nan"),
    ({"clients": 0}, "clients: must be above 0, not 0"),
    ({"clients": "7"}, "clients: expected int, got '7'"),
    ({"clients": True}, "clients: expected int, got True"),
    ({"clients": 2.5}, "clients: expected int, got 2.5"),
    ({"requests": None}, "give requests, seconds or both"),
    ({"requests": 0}, "requests: must be above 0"),
    ({"seconds": float("inf")}, "seconds: expected float, got inf"),
    ({"timeout_s": 0}, "timeout_s: must be above 0"),
    ({"processes": 2}, "1 cannot be shared by 2 processes"),
    ({"processes": 99, "clients": 99}, "at most 64"),
    ({"host_index": 1}, "host_index: 1 is not below host_count 1"),
    ({"keys": {"kind": "pareto"}}, "keys.kind: expected one of one, uniform, zipf, cycle, got 'pareto'"),
    ({"keys": {"count": 0}}, "keys.count: 0 is not within"),
    ({"keys": {"s": 0}}, "keys.s: must be above 0"),
    ({"keys": {"prefix": "a,b"}}, "keys.prefix"),
    ({"keys": 7}, "keys: expected an object, got 7"),
    ({"arrivals": "bursts"}, "arrivals: expected one of fixed, poisson, got 'bursts'"),
    ({"release": "later"}, "release: expected one of together, ramp, got 'later'"),
    ({"target": {"host": "a b", "port": 80}}, "not a host name"),
    ({"target": {"host": "h", "port": 0}}, "0 is not a port"),
    ({"target": {"host": "h"}}, "target: port is missing"),
    ({"operations": []}, "operations: needs at least one"),
    ({"operations": {}}, "operations: expected tuple"),
    ({"operations": [INCREMENT, INCREMENT]}, "two have the same name"),
    (
        {"operations": [INCREMENT | {"method": "HEAD"}]},
        "method: expected one of GET, POST, PUT, PATCH, DELETE, got 'HEAD'",
    ),
    ({"operations": [INCREMENT | {"path": "api"}]}, "path 'api' must start with /"),
    ({"operations": [INCREMENT | {"path": "/a b"}]}, "printable ASCII without spaces"),
    ({"operations": [INCREMENT | {"paths": ["/x"]}]}, "either path or paths"),
    ({"operations": [INCREMENT | {"weight": 0}]}, "weight: must be above 0, not 0"),
    ({"operations": [INCREMENT | {"headers": {"X": "a\r\nY: b"}}]}, "header 'X'"),
    ({"operations": [INCREMENT | {"headers": {"X": 1}}]}, "headers.X: expected str, got 1"),
    ({"operations": [INCREMENT | {"capture": "ids"}]}, "capture: expected tuple[str, ...], got 'ids'"),
    ({"operations": [INCREMENT | {"verb": "x"}]}, "operations[0]: unknown key 'verb'"),
    ({"warmup": {"seconds": 5.0, "max_seconds": 1.0}}, "0 < seconds <= max_seconds"),
    ({"load_host": "a b"}, "load_host: 'a b' must have 1 to 64"),
    ({"run_tag": "a\nb"}, "run_tag: 'a\\nb' must have 1 to 64"),
    ({"out": ""}, "out: needs a folder"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_a_bad_job_is_an_error_of_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode_job(job_dict(80, tmp_path) | changes)
    assert message in caught.value.message
    assert caught.value.message.startswith("load job: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("data", [None, [], "job", 7])
def test_only_an_object_is_a_job(data: Any) -> None:
    with pytest.raises(UsageError, match="load job: expected an object"):
        decode_job(data)


def test_a_job_is_unchanged_by_json(tmp_path: Path) -> None:
    job = decode_job(
        job_dict(
            80,
            tmp_path,
            warmup={"seconds": 1.0, "max_seconds": 2.0},
            keys={"kind": "zipf", "count": 9},
            operations=[INCREMENT, {"name": "read", "method": "GET", "paths": ["/a", "/b"], "capture": ["x"]}],
        )
    )
    assert decode_job(json.loads(json.dumps(job.to_dict()))) == job


@pytest.mark.parametrize("total", [1, 7, 8, 1000])
def test_stripes_of_hosts_and_processes_add_up_to_the_whole(tmp_path: Path, total: int) -> None:
    hosts = [decode_job(job_dict(80, tmp_path, clients=12, processes=3, host_index=i, host_count=2)) for i in range(2)]
    stripes = [host.process(number) for host in hosts for number in range(3)]
    assert sorted(stripe.host_index for stripe in stripes) == list(range(6))
    assert sum(stripe.stripe(total) for stripe in stripes) == total
    assert sum(stripe.stripe(stripe.clients) for stripe in stripes) == 12
    assert len({stripe.out for stripe in stripes[:3]}) == 3
