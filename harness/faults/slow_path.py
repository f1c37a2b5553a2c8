"""A slow network between the app hosts and the database: every packet is late, and some are lost.

A proxy on each app host delays new connections of the service, connections from before are reset, and a rule drops a
share of what the database sends. The kernel's own netem would delay as well, but many kernels have none; one way that
works everywhere is measured the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness import host_scripts
from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import packet_rules
from harness.faults.base import Before, Fault
from harness.model import Host
from harness.rig.connection import HostConnection
from harness.rig.rig import Rig

CHAIN = f"{packet_rules.PREFIX}slow-"
OUT, IN = f"{CHAIN}out", f"{CHAIN}in"
UNIT = "pgcrucible-slow-proxy.service"
PORT = 15432
DELAY_MS = 25.0
"""In each direction."""
LOSS = 0.02
TIMEOUT_S = 20.0
_START = """
set -eu
systemd-run --quiet --collect --unit=$1 "$2" -I -S -c "$(cat)" "$3" "$4" "$5" "$6"
for _ in $(seq 50); do
    ! (exec 3<> "/dev/tcp/127.0.0.1/$3") 2> /dev/null || exit 0
    sleep 0.1
done
echo "the proxy does not listen" >&2
exit 1
"""
_STOP = 'systemctl stop "$1" 2> /dev/null; systemctl reset-failed "$1" 2> /dev/null; exit 0'
_ROUND_TRIP = """
import socket, sys, time
best = None
for _ in range(3):
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2) as server:
            server.settimeout(2)
            began = time.perf_counter()
            server.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47]))  # SSLRequest, answered with one byte before any login
            if server.recv(1):
                took = time.perf_counter() - began
                best = took if best is None else min(best, took)
    except OSError:
        pass
print("" if best is None else best * 1000)
"""


class SlowPath(Fault):
    """Delay and loss between all app hosts and the database."""

    deadline_s = 10.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        app, database = rig.role("app")[0], rig.role("db")[0]
        if app.address == database.address:
            return f"{app.name} and {database.name} are one machine"
        if str(rig.variables["common_user"]) == "root":
            return "the service runs as root, as the proxy does, and rules tell them apart by their user"
        return packet_rules.problem(rig.at(app))

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """See Fault."""
        return rig.role("app")

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """The round trip to the database in ms, by host."""
        measured = rig.each(self.hosts(rig, planned), lambda host: round_trip_ms(rig, host))
        if silent := [name for name, ms in measured.items() if ms is None]:
            raise RigError(f"{silent[0]} does not reach the database")
        known = {name: ms for name, ms in measured.items() if ms is not None}
        for name, ms in known.items():
            if ms >= 2 * DELAY_MS:
                raise RigError(
                    f"{name}: a round trip to the database takes {ms:.0f} ms without the fault: a delay of "
                    f"{2 * DELAY_MS:.0f} ms could not be distinguished from it"
                )
        return {name: f"{ms:.1f}" for name, ms in known.items()}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        rig.each(self.hosts(rig, planned), lambda host: _slow_down(rig, host))

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Every host's round trip has the delay, and the rules dropped packets of the database on one of them."""
        address = rig.role("db")[0].address
        measured = rig.each(self.hosts(rig, planned), lambda host: round_trip_ms(rig, host))
        matched = rig.each(self.hosts(rig, planned), lambda host: packet_rules.packets(host, IN, address) or 0)
        slow = [ms for ms in measured.values() if ms is not None and ms >= 2 * DELAY_MS]
        if len(slow) < len(measured) or not any(matched.values()):
            return ""
        usual = max(float(ms) for ms in before.values())
        return (
            f"round trip to the database {min(slow):.0f} ms (before: {usual:.1f} ms), {sum(matched.values())} packets"
        )

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        rig.each(self.hosts(rig, planned), stop)

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """No rule and no proxy is left on any host, and every host's round trip is without the delay."""
        if any(rig.each(self.hosts(rig, planned), left).values()):
            return ""
        measured = rig.each(self.hosts(rig, planned), lambda host: round_trip_ms(rig, host))
        fast = [ms for ms in measured.values() if ms is not None and ms < 2 * DELAY_MS]
        if not fast or len(fast) < len(measured):
            return ""
        return f"no rule and no proxy is left, round trip to the database {max(fast):.1f} ms"


def stop(host: HostConnection) -> list[str]:
    """Removes rules and proxy; returns the names of what was removed. Works without knowing what was injected."""
    removed = packet_rules.remove(host, CHAIN)
    state = _state_of_proxy(host)
    host.run(["sh", "-c", _STOP, "sh", UNIT], timeout_s=TIMEOUT_S)
    return [*removed, *([UNIT] if state == "active" else [])]


def left(host: HostConnection) -> list[str]:
    """Returns which rules the host has, and the proxy unless it is inactive. Raises RigError."""
    state = _state_of_proxy(host)
    return [*packet_rules.left(host, CHAIN), *([] if state == "inactive" else [f"{UNIT} ({state or 'unknown'})"])]


def round_trip_ms(rig: Rig, host: HostConnection) -> float | None:
    """Returns the shortest of three round trips to the database as the service's user; None without an answer."""
    python, user = _python(rig), str(rig.variables["common_user"])
    target = [rig.role("db")[0].address, str(rig.variables["postgres_port"])]
    command = ["runuser", "-u", user, "--", python, "-I", "-S", "-c", _ROUND_TRIP, *target]
    text = host.run(command, timeout_s=TIMEOUT_S).stdout.strip()
    return float(text) if text else None


def _state_of_proxy(host: HostConnection) -> str:
    """Returns systemd's word for it; `inactive` where there is none."""
    return host.run(["systemctl", "is-active", UNIT], timeout_s=TIMEOUT_S, check=False).stdout.strip()


def _slow_down(rig: Rig, host: HostConnection) -> None:
    address, port = rig.role("db")[0].address, str(rig.variables["postgres_port"])
    script = Path(host_scripts.__path__[0], "slow_proxy.py").read_text(encoding="utf-8")
    start = ["bash", "-c", _START, "bash", UNIT, _python(rig), str(PORT), address, port, str(DELAY_MS)]
    host.run(start, stdin=script, timeout_s=TIMEOUT_S)
    mine = f"-p tcp -d {address} --dport {port} -m owner ! --uid-owner 0"
    packet_rules.add(
        host, OUT, [f"{mine} -j REDIRECT --to-ports {PORT}"], address=address, hooks=("OUTPUT",), table="nat"
    )
    # A connection from before still goes to the database's address; one made since goes to the proxy's.
    reset = f"{mine} -j REJECT --reject-with tcp-reset"
    packet_rules.add(host, OUT, [reset], address=address, hooks=("OUTPUT",))
    lose = f"-p tcp -s {address} --sport {port} -m statistic --mode random --probability {LOSS} -j DROP"
    packet_rules.add(host, IN, [lose], address=address, hooks=("INPUT",))


def _python(rig: Rig) -> str:
    return f"{rig.variables['common_directory']}/venv/bin/python"
