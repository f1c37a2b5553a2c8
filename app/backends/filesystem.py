"""Detects network filesystems: SQLite's locks do not work across hosts, and WAL corrupts the file there."""

from __future__ import annotations

import re
from pathlib import Path

NETWORK = re.compile(
    r"nfs4?|9p|virtiofs|cifs|smb3?|smbfs|afs|ceph|lustre|glusterfs|gfs2|ocfs2|ncpfs|coda|fuse(\..+)?|fuseblk"
)
"""Filesystem types that more than one kernel can, or may, access (Linux, proc(5), mountinfo)."""


def mounted_type(path: Path, mountinfo: str) -> str:
    """Returns the type of the filesystem of `path` (absolute, no symlinks), from the text of /proc/self/mountinfo.

    That is the longest matching mount point, the last of equal ones (it hides the others). Empty if there is none.
    """
    longest, kind = -1, ""
    for line in mountinfo.splitlines():
        mount, separator, source = line.partition(" - ")
        fields = mount.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if (path == point or point in path.parents) and len(point.parts) >= longest:
            longest, kind = len(point.parts), source.split(" ")[0]
    return kind


def refuse_network(path: Path) -> None:
    """Raises RuntimeError if `path` is on a filesystem on which SQLite must not be shared."""
    mountinfo = Path("/proc/self/mountinfo")
    if not mountinfo.exists():
        raise RuntimeError("cannot determine the filesystem of the SQLite file: /proc/self/mountinfo is missing")
    kind = mounted_type(path.resolve(), mountinfo.read_text(encoding="utf-8", errors="surrogateescape"))
    if NETWORK.fullmatch(kind):
        raise RuntimeError(
            f"the SQLite file {path} is on {kind}: locks do not work across hosts and the file would be"
            " corrupted; set SQLITE_PATH to a local filesystem"
        )
