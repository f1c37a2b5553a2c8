"""The scripts that remove and find packet rules, with iptables as a stub that refuses what a test asks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.faults import packet_rules
from harness.rig.connection import LocalConnection

_STUB = """#!/bin/sh
case "$*" in
*-S*) [ ! -e {0}/locked ] || {{ echo "Another app is currently holding the xtables lock." >&2; exit 4; }}
  case "$*" in *nat*) echo "can't initialize iptables table nat" >&2; exit 3 ;; esac
  echo "-P INPUT ACCEPT"; cat {0}/chains ;;
*-D*) exit 1 ;;
*-X*) [ ! -e {0}/busy ] || {{ echo "iptables: Device or resource busy." >&2; exit 4; }}
  : > {0}/chains ;;
esac
"""
CHAIN = "PGCRUCIBLE-slow-in"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stub: iptables has one chain of a fault, and no table nat; there is no ip6tables."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "chains").write_text(f"-N {CHAIN}\n-N DOCKER\n-A {CHAIN} -j DROP\n")
    for name, text in (("iptables", _STUB.format(tmp_path)), ("ip6tables", "#!/bin/sh\nexit 3\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def test_a_chain_is_found_and_removed(machine: Path) -> None:
    host = LocalConnection()
    assert packet_rules.left(host) == [CHAIN]
    assert packet_rules.left(host, "PGCRUCIBLE-db") == []
    assert packet_rules.remove(host) == [CHAIN]
    assert packet_rules.left(host) == packet_rules.remove(host) == []


def test_a_chain_that_is_not_removed_is_an_error(machine: Path) -> None:
    (machine / "busy").touch()
    with pytest.raises(RigError) as error:
        packet_rules.remove(LocalConnection())
    assert "resource busy" in error.value.output
    assert packet_rules.left(LocalConnection()) == [CHAIN]


def test_rules_that_cannot_be_read_are_not_taken_for_none(machine: Path) -> None:
    (machine / "locked").touch()
    with pytest.raises(RigError):
        packet_rules.remove(LocalConnection())
    with pytest.raises(RigError):
        packet_rules.left(LocalConnection())
