"""Values of inventory variables that no role can use, or with which `destroy` would remove what it did not create."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.provision.inventory import variables_model
from harness.provision.variable_types import special_type
from harness.rig.state import ROLES_DIR

MODEL = variables_model(ROLES_DIR)
GOOD: dict[str, list[object]] = {
    "host_count": [1, 64],
    "host_cpus": [0.5, 2],
    "app_port": [1, 65535, "3001"],
    "app_workers": [1, 64],
    "haproxy_threads": [0, "{{ ansible_processor_vcpus }}"],
    "app_pool_idle_seconds": [0.5, 30],
    "common_directory": ["/opt/pgcrucible", "/srv/pgcrucible-2/code"],
    "common_user": ["pgcrucible", "bench_1"],
    "postgres_database": ["crucible", "load_test"],
    "postgres_owner": ["crucible_owner"],
}
BAD: dict[str, list[object]] = {
    "host_count": ["4", True, 4.0, 0, 65],
    "host_cpus": ["0.5", True, float("nan"), float("inf"), 0],
    "app_port": [0, -1, 65536, True, "ssh", 3001.5, ""],
    "app_workers": [0, -1, 65, True],
    "load_processes": [0, True],
    "postgres_port": [0, 70000],
    "haproxy_threads": [-1, True],
    "app_pool_idle_seconds": [-1, float("nan"), True],
    "common_directory": [
        "/", "/opt", "/etc", "opt/pgcrucible", "/opt/../etc", "/opt/pgcrucible/", "/opt//pgcrucible", "/usr/lib",
        "/opt/pgcrucible/..", "/opt/pg crucible", "/opt/pgcrucible$HOME", "/opt/pgcrucible;x", "~/pgcrucible",
        "/opt/pgcrucible\n",
    ],
    "common_settings_directory": ["/etc", "/etc/ssh", "/home/pgcrucible/.ssh\n"],
    "common_user": ["root", "postgres", "haproxy", "a b;c", "", "Bench", "a" * 32, "1a"],
    "postgres_database": ["postgres", "template1", 'a"b', "a-b", "select 1", "pg_x"],
    "postgres_owner": ["postgres", "pg_monitor", "public", "x; DROP TABLE y"],
    "postgres_app_user": ["postgres"],
    "postgres_harness_user": ["postgres", "A"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in GOOD for value in GOOD[name]])
def test_values_that_roles_can_use_are_accepted(name: str, value: object) -> None:
    MODEL.model_validate({name: value})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_other_values_are_refused_before_anything_is_created(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        MODEL.model_validate({name: value})


def test_every_name_that_a_destroy_removes_by_is_checked() -> None:
    for name in ("common_user", "common_directory", "postgres_database", "postgres_app_user", "postgres_owner"):
        assert special_type(name) is not None
    assert special_type("haproxy_backlog") is None
