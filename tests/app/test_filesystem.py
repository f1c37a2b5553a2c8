from __future__ import annotations

from pathlib import Path

import pytest

from app.backends import filesystem

MOUNTINFO = """\
22 1 0:20 / / rw,relatime shared:1 - overlay overlay rw
23 22 0:21 / /srv rw shared:2 - ext4 /dev/sda1 rw
24 23 0:22 / /srv/nfs rw shared:3 master:4 - nfs4 server:/export rw
25 22 0:23 / /with\\040space rw - virtiofs share rw
26 22 0:24 / /over rw - nfs server:/a rw
27 22 0:25 / /over rw - ext4 /dev/sdb1 rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", "overlay"),
        ("/srv", "ext4"),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/a/b", "nfs4"),
        ("/srv/nfs-not", "ext4"),
        ("/with space/x", "virtiofs"),
        ("/over/x", "ext4"),
    ],
)
def test_the_innermost_last_mount_decides(path: str, kind: str) -> None:
    assert filesystem.mounted_type(Path(path), MOUNTINFO) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "9p", "virtiofs", "cifs", "smb3", "fuse", "fuse.sshfs", "ceph"])
def test_network_types_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    monkeypatch.setattr(filesystem, "mounted_type", lambda path, mountinfo: kind)
    with pytest.raises(RuntimeError, match=f"is on {kind}:"):
        filesystem.refuse_network(tmp_path)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs"])
def test_local_types_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    monkeypatch.setattr(filesystem, "mounted_type", lambda path, mountinfo: kind)
    filesystem.refuse_network(tmp_path)
