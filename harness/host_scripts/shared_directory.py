"""Whether app hosts can share a SQLite file in a directory: sent to them as text too (`python3 -`). Standard library.

SQLite needs one kernel: its locks do not hold across a network, its write-ahead log is shared memory. So the directory
must not be on a network filesystem, must be the same on every host, and all hosts must run on one kernel.

Standard input may be this text, so the wish comes as arguments: the directory, a token, and `leave` (the token, as a
file, for others to see), `look` or `remove`. Prints JSON: {"type", "kernel", "seen"}, or {"error"}.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NETWORK = re.compile(
    r"nfs4?|9p|virtiofs|cifs|smb3?|smbfs|afs|ceph|lustre|glusterfs|gfs2|ocfs2|ncpfs|coda|fuse(\..+)?|fuseblk"
)
"""Types that are, or may be, reached by more than one kernel (Linux, proc(5), mountinfo). The service refuses the same
(app/backends/filesystem.py); a test holds them equal."""


def mounted_type(path: Path, mountinfo: str) -> str:
    """The type of the filesystem that holds `path` (absolute, no symlinks), from /proc/self/mountinfo's text.

    The longest mount point wins, the last of equal ones (it hides the others). Empty if there is none.
    """
    best, found = -1, ""
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if (path == point or point in path.parents) and len(point.parts) >= best:
            best, found = len(point.parts), right.split(" ")[0]
    return found


def type_of(path: Path) -> str:
    """The type of the filesystem that holds `path` on this host."""
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return mounted_type(path.resolve(), mountinfo)


def probe(directory: str, token: str, wish: str) -> dict[str, Any]:
    """What this host knows of the directory; `kernel` is the boot's id, the same for all containers of one kernel."""
    left = Path(directory) / f".shared-{token}"
    try:
        if wish == "leave":
            left.touch(exist_ok=False)
        seen = left.exists()
        if wish == "remove":
            left.unlink(missing_ok=True)
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"type": type_of(Path(directory)), "kernel": kernel, "seen": seen}
    except OSError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def why_not(directory: str, seen: Mapping[str, Mapping[str, Any]]) -> str:
    """Why these hosts (name -> what it knows, the first having left the token) cannot share a SQLite file. Pure.

    Empty if they can.
    """
    first = next(iter(seen))
    for host, known in seen.items():
        if "error" in known:
            return f"{host} cannot use {directory}: {known['error']}"
        if NETWORK.fullmatch(known["type"]):
            return (
                f"{directory} is on {known['type']} on {host}: SQLite's locks do not hold between hosts there, "
                "and its file gets corrupted"
            )
        if not known["seen"]:
            return f"{host} does not see what {first} writes to {directory}: it is not one directory that they share"
    kernels = {str(known["kernel"]) for known in seen.values()}
    if len(kernels) > 1:
        return f"the hosts that share {directory} run on {len(kernels)} kernels: SQLite's locks and log need one"
    return ""


if __name__ == "__main__":
    print(json.dumps(probe(*sys.argv[1:4])))
