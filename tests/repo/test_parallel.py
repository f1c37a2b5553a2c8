"""Tests that run at the same time: those of a file stay together, and no more than two rigs exist."""

from __future__ import annotations

from tests.support.parallel import RIG, RIGS, TESTS, group


def test_the_tests_of_a_file_are_one_group() -> None:
    assert group("tests/app/test_pool.py::test_a[1]") == group("tests/app/test_pool.py::test_b")
    assert group("tests/app/test_pool.py::test_a") != group("tests/app/test_tls.py::test_a")
    assert group("tests/harness/rig/test_ssh.py::test_a") != group("tests/rig/test_ssh.py::test_a")


def test_the_tests_of_rigs_are_at_most_two_groups() -> None:
    names = [str(path.relative_to(TESTS.parent)) for path in RIG.glob("test_*.py")]
    assert {group(f"{name}::test_a") for name in names} == {f"rig {number}" for number in range(RIGS)}
