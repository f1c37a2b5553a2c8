"""Which filesystem a path is on: SQLite's locks do not hold across hosts, and WAL corrupts there."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = re.compile(
    r"nfs4?|9p|virtiofs|cifs|smb3?|smbfs|afs|ceph|lustre|glusterfs|gfs2|ocfs2|ncpfs|coda|fuse(\..+)?|fuseblk"
)
"""Types that are, or may be, reached by more than one kernel (Linux, proc(5), mountinfo)."""


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


def refuse_network(path: Path) -> None:
    """RuntimeError when `path` is on a filesystem that SQLite must not be shared on."""
    mountinfo = Path("/proc/self/mountinfo")
    if not mountinfo.exists():
        raise RuntimeError("cannot tell the filesystem of the SQLite file: /proc/self/mountinfo is missing")
    kind = mounted_type(path.resolve(), mountinfo.read_text(encoding="utf-8", errors="surrogateescape"))
    if NETWORK.fullmatch(kind):
        raise RuntimeError(
            f"the SQLite file {path} is on {kind}: its locks do not hold between hosts and the file gets"
            " corrupted; put it on a local filesystem (SQLITE_PATH)"
        )
