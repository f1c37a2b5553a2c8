"""A full disk under the write-ahead log: the server cannot write what it has to before it acknowledges.

A small memory filesystem takes the place of the log's directory. It is filled, and emptied by the heal. When the load
has ended, `tidy` stops the server, brings the log back to its own disk and starts it: until then no other fault may
take the host down, because the log would be lost with its memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults.base import Before, Fault
from harness.model import Host
from harness.provision.providers import provider_of
from harness.rig.connection import HostConnection, Result
from harness.rig.rig import Rig

SIZE_MB = 96
TIMEOUT_S = 60.0
_CLUSTER = """
set -eu
set -- $(pg_lsclusters --no-header | grep -E '^[0-9]+ +main ' | tail -n 1)
version=$1 port=$3 owner=$5 log=$7
wal=$(readlink -f "$6/pg_wal")
service=postgresql@$version-main.service
mounted() { grep -q " $wal tmpfs " /proc/mounts; }
sql() { runuser -u "$owner" -- psql -p "$port" -d postgres -XAtqc "$1"; }
# The log goes on in the small filesystem, and recovery no longer needs what it hides.
move_on() {
    mkdir -p "$wal/archive_status" "$wal/summaries"
    chown -R "$owner:" "$wal" && chmod 700 "$wal"
    sql "SELECT pg_logical_emit_message(true, 'pgcrucible', '')" > /dev/null
    sql "SELECT pg_switch_wal()" > /dev/null
    sql CHECKPOINT
}
"""
_READ = f"{_CLUSTER} mounted && echo mounted || echo free; echo $wal; stat -c %s $log"
_FILL = f"""{_CLUSTER}
mounted || {{ echo "$wal is not on the small filesystem" >&2; exit 1; }}
move_on
free=$(df --output=avail -k "$wal" | tail -n 1)
ballast="$wal/pgcrucible-ballast"
fallocate -l "$free"K "$ballast" || dd if=/dev/zero of="$ballast" bs=64k 2> /dev/null || true
# The next segment does not fit. The server ends the session that finds out.
for _ in 1 2 3 4 5 6 7 8; do
    sql "SELECT pg_logical_emit_message(true, 'pgcrucible', '')" > /dev/null 2>&1 || break
    sql "SELECT pg_switch_wal()" > /dev/null 2>&1 || break
done
"""
_SEEN = f"""{_CLUSTER} tail -c "+$(($0 + 1))" "$log" | grep -m 1 'No space left on device' || true"""
_FREE = f"""{_CLUSTER} rm -f "$wal/pgcrucible-ballast" """
_ACCEPTS = f"""{_CLUSTER} [ ! -e "$wal/pgcrucible-ballast" ] && sql 'SELECT txid_current()' 2> /dev/null || true"""
_STOP = f"""{_CLUSTER}
kept=$(dirname "$wal")/pgcrucible-wal
mounted || [ -d "$kept" ] || exit 0
# A controller that was killed after the mount left the server on both: a segment of each, with a part of the log.
if mounted; then rm -f "$wal/pgcrucible-ballast"; move_on || true; fi
systemctl stop "$service"
if mounted; then
    rm -rf "$kept.part" "$kept" && cp -a "$wal" "$kept.part" && sync && mv "$kept.part" "$kept"
fi
echo "$wal"
"""
_BACK = f"""{_CLUSTER}
kept=$(dirname "$wal")/pgcrucible-wal
if mounted; then echo "$wal is still on the small filesystem" >&2; exit 1; fi
if [ -d "$kept" ]; then
    rm -f "$kept/pgcrucible-ballast"
    # What lies below stays: the server may not have gone on in the small filesystem, and removes what it does not need.
    cp -a "$kept/." "$wal/" && sync && rm -rf "$kept"
fi
systemctl reset-failed "$service" 2> /dev/null || true
systemctl start "$service"
"""


class FullDisk(Fault):
    """The filesystem of the write-ahead log has no space left."""

    deadline_s = 30.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        if provider_of(rig.state).MAKES_HOSTS:
            return ""
        host = rig.role("db")[0]
        allowed = rig.at(host).run(["unshare", "-m", "true"], timeout_s=TIMEOUT_S, check=False).code == 0
        return "" if allowed else f"nothing can be mounted on {host.name}"

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """See Fault."""
        return rig.role("db")[:1]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """`wal`: the directory of the write-ahead log; `log`: bytes of the server's log so far."""
        state, wal, log = _run(self._at(rig), _READ).stdout.split("\n")[:3]
        if state == "mounted":
            raise RigError(f"{wal} is on a small filesystem already", hint="run ./run heal")
        return {"wal": wal, "log": log}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        options = f"size={SIZE_MB}m,mode=700"
        _mount(rig, ["mount", "-t", "tmpfs", "-o", options, "pgcrucible", before["wal"]])
        _run(self._at(rig), _FILL)

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """The line of the server's log."""
        return _run(self._at(rig), _SEEN, before["log"]).stdout.strip()[:200]

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Frees the space; the server has to recover by itself."""
        _run(self._at(rig), _FREE)

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """A transaction can be written."""
        transaction = _run(self._at(rig), _ACCEPTS).stdout.strip()
        return f"transaction {transaction} was written" if transaction else ""

    def tidy(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Brings the write-ahead log back to its own disk, which takes a restart of the server."""
        tidy(rig)

    @staticmethod
    def _at(rig: Rig) -> HostConnection:
        return rig.at(rig.role("db")[0])


def tidy(rig: Rig) -> bool:
    """Brings the write-ahead log back from a small filesystem; returns whether it was on one. Idempotent."""
    host = rig.at(rig.role("db")[0])
    wal = _run(host, _STOP).stdout.strip()
    if not wal:
        return False
    if _run(host, _READ).stdout.startswith("mounted"):
        _mount(rig, ["umount", wal])
    _run(host, _BACK)
    return True


def _mount(rig: Rig, command: Sequence[str]) -> None:
    """Mounts or unmounts on the database host, from this machine where the host itself may not."""
    host = rig.role("db")[0]
    result = rig.at(host).run(command, timeout_s=TIMEOUT_S, check=False)
    if result.code:
        provider_of(rig.state).run_privileged(rig.name, host, command)


def _run(host: HostConnection, script: str, *arguments: str) -> Result:
    return host.run(["bash", "-c", script, *(arguments or ("bash",))], timeout_s=TIMEOUT_S)


DISK: Mapping[str, Fault] = {"db-full": FullDisk()}
