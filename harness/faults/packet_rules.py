"""Packet rules of faults on a host, in separate iptables chains: rules of others are never touched."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.errors import RigError
from harness.rig.connection import HostConnection

PREFIX = "PGCRUCIBLE-"
"""Of the names of all chains that a fault makes."""
TIMEOUT_S = 15.0
_ADD = """
set -eu
tables="$1 -w 5" chain=$2
shift 2
$tables -N "$chain"
for rule; do $tables -A "$chain" $rule; done
"""
_JOIN = """
set -eu
tables="$1 -w 5" chain=$2
shift 2
for hook; do $tables -I "$hook" -j "$chain"; done
"""
_CHAINS = """
failed=0
chains() {
    rules=$($1 -w 5 -t $2 -S 2>&1) || {
        case $rules in *"xtables lock"*) echo "$rules" >&2; failed=1 ;; esac  # else there is no such table
        return 0
    }
    found=$(printf '%s\\n' "$rules" | sed -n "s/^-N \\($3[A-Za-z0-9-]*\\)$/\\1/p")
}
"""
"""`chains PROGRAM TABLE PREFIX` sets `found`; `failed` is 1 where they could not be read."""
_REMOVE = f"""{_CHAINS}
for tables in iptables ip6tables; do
    for table in filter nat; do
        found=
        chains $tables $table "$1"
        for chain in $found; do
            for hook in INPUT OUTPUT; do
                while $tables -w 5 -t $table -D $hook -j "$chain" 2> /dev/null; do :; done
            done
            $tables -w 5 -t $table -F "$chain" && $tables -w 5 -t $table -X "$chain" && echo "$chain" || failed=1
        done
    done
done
exit $failed
"""
_LEFT = f"""{_CHAINS}
for tables in iptables ip6tables; do
    for table in filter nat; do
        found=
        chains $tables $table "$1"
        for chain in $found; do echo "$chain"; done
    done
done
exit $failed
"""
_COUNT = """
set -eu
rules=$($1 -w 5 -S)
printf '%s\\n' "$rules" | grep -qx -- "-N $2" || exit 3
exec $1 -w 5 -nvxL "$2"
"""
_ABSENT = 3


def problem(host: HostConnection) -> str:
    """Returns why packet rules cannot be set on the host; empty if they can."""
    result = host.run(["iptables", "-w", "5", "-S"], timeout_s=TIMEOUT_S, check=False)
    if result.code == 0:
        return ""
    error = (result.stderr.strip().splitlines() or ["no output"])[-1]
    return f"iptables does not work on {host.name}: {error} (a container needs `faults_allowed: true` in its inventory)"


def add(
    host: HostConnection, chain: str, rules: Sequence[str], *, address: str, hooks: Sequence[str], table: str = "filter"
) -> None:
    """Makes the chain with its rules and puts it in front of the hooks (`INPUT`, `OUTPUT`).

    `address`: one that the rules are about; it decides between iptables and ip6tables.
    """
    tables = f"{_program(address)} -t {table}"
    host.run(["sh", "-c", _ADD, "sh", tables, chain, *rules], timeout_s=TIMEOUT_S)
    host.run(["sh", "-c", _JOIN, "sh", tables, chain, *hooks], timeout_s=TIMEOUT_S)


def remove(host: HostConnection, chain: str = PREFIX) -> list[str]:
    """Removes the chains whose names begin with `chain` from all tables; returns the removed ones.

    Raises RigError where one is left.
    """
    if not chain.startswith(PREFIX):
        raise ValueError(f"{chain} is not a chain of a fault")
    return host.run(["sh", "-c", _REMOVE, "sh", chain], timeout_s=TIMEOUT_S).stdout.split()


def left(host: HostConnection, chain: str = PREFIX) -> list[str]:
    """Returns the chains whose names begin with `chain`, of all tables. Raises RigError where they cannot be read."""
    return host.run(["sh", "-c", _LEFT, "sh", chain], timeout_s=TIMEOUT_S).stdout.split()


def packets(host: HostConnection, chain: str, address: str) -> int | None:
    """Returns how many packets the rules of the chain matched; None where there is no such chain."""
    result = host.run(["sh", "-c", _COUNT, "sh", _program(address), chain], timeout_s=TIMEOUT_S, check=False)
    if result.code == _ABSENT:
        return None
    if result.code:
        raise RigError(f"{host.name}: the rules of {chain} cannot be read: {result.stderr.strip()}")
    return sum(int(number) for number in re.findall(r"^\s*(\d+)\s+\d+\s", result.stdout, re.MULTILINE))


def connects(host: HostConnection, address: str, port: int) -> bool:
    """Whether a TCP connection from the host to the address succeeds within one second."""
    script = 'exec 3<> "/dev/tcp/$1/$2"'
    command = ["timeout", "1", "bash", "-c", script, "bash", address, str(port)]
    return host.run(command, timeout_s=TIMEOUT_S, check=False).code == 0


def _program(address: str) -> str:
    return "ip6tables" if ":" in address else "iptables"
