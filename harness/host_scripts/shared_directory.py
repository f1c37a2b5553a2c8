"""Checks whether app hosts can share a SQLite file in a directory: also sent to them as text (`python3 -`).

SQLite needs one kernel: its locks do not work across a network, and its write-ahead log index is shared memory. So the
directory must not be on a network filesystem, must be the same on every host, and all hosts must run on one kernel.

Standard library only. Standard input is this text, so the arguments say what to do: the directory, a token, and an
action: `leave` creates a file named after the token, `look` checks for it, `remove` deletes it.
Prints JSON: {"type", "kernel", "seen"}, or {"error"}.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

NETWORK = re.compile(
    r"nfs4?|9p|virtiofs|cifs|smb3?|smbfs|afs|ceph|lustre|glusterfs|gfs2|ocfs2|ncpfs|coda|fuse(\..+)?|fuseblk"
)
"""Filesystem types that more than one kernel can mount (types as in proc(5), mountinfo). The service refuses the same
(app/backends/filesystem.py); a test checks that both are equal."""


def mounted_type(path: Path, mountinfo: str) -> str:
    """Returns the filesystem type of `path` (absolute, no symlinks) from the text of /proc/self/mountinfo.

    The longest mount point counts, and the last of equal ones, which hides the others. Empty if there is none.
    """
    longest, filesystem = -1, ""
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if (path == point or point in path.parents) and len(point.parts) >= longest:
            longest, filesystem = len(point.parts), right.split(" ")[0]
    return filesystem


def type_of(path: Path) -> str:
    """Returns the filesystem type of `path` on this host."""
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return mounted_type(path.resolve(), mountinfo)


class Probe(TypedDict, total=False):
    """What a host sees of the directory: `error` alone where it cannot use it."""

    type: str
    kernel: str
    seen: bool
    error: str


def probe(directory: str, token: str, action: str) -> Probe:
    """Returns what this host sees of the directory; `kernel` is the boot id, equal for all containers of a kernel."""
    marker = Path(directory) / f".shared-{token}"
    try:
        if action == "leave":
            marker.touch(exist_ok=False)
        seen = marker.exists()
        if action == "remove":
            marker.unlink(missing_ok=True)
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"type": type_of(Path(directory)), "kernel": kernel, "seen": seen}
    except OSError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def why_not(directory: str, probes: Mapping[str, Probe]) -> str:
    """Returns why these hosts cannot share a SQLite file, or an empty string. Pure.

    `probes` are the results of `probe` by host name; the first host has created the file of the token.
    """
    first = next(iter(probes))
    for host, result in probes.items():
        if "error" in result:
            return f"{host} cannot use {directory}: {result['error']}"
        if NETWORK.fullmatch(result["type"]):
            return (
                f"{directory} is on {result['type']} on {host}: SQLite's locks do not work between hosts there, "
                "and its file gets corrupted"
            )
        if not result["seen"]:
            return f"{host} does not see what {first} writes to {directory}: the hosts do not share the directory"
    kernels = {str(result["kernel"]) for result in probes.values()}
    if len(kernels) > 1:
        return f"the hosts that share {directory} run on {len(kernels)} kernels: SQLite's locks and log need one"
    return ""


if __name__ == "__main__":
    print(json.dumps(probe(*sys.argv[1:4])))
