"""The service of another git revision of this checkout: which commit a name means, and what its hosts get.

Only `app/` and the packages of `requirements-host.lock` come from the revision. The load generator, the oracle and the
database's schema are always those of the checkout. `worktree` or `.` names the files as they are.

A negative control is the checkout's service with a module of `controls/` in its place. No option takes its name: only
the scenario that plans the control does.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RigError, UsageError
from harness.provision.bundle import LOCK, hash_files, hash_wheels, pack_code, pack_wheels
from harness.rig.state import CACHE, ROOT
from harness.text import nearest, printable

WORKTREE, CONTROL = "worktree", "control"
DIGITS = 12
"""Hexadecimal digits of a commit, or of the hash of the files as they are, that name a revision."""
_ID = re.compile(rf"(?:{WORKTREE}-)?[0-9a-f]{{{DIGITS}}}|{CONTROL}-[a-z-]+")
DROP_IN = "/run/systemd/system/pgcrucible-app@.service.d/revision.conf"
"""The file on an app host that selects a revision; its first line names it. Without it, so after a reboot too, the
service runs as provisioned."""
_SCHEMA = "app/schema.sql"
_ENTRY = "app/__main__.py"
REMOVE_CONTROLS = f'rm -rf -- "$1"/revisions/{CONTROL}-*'
"""Shell command that removes the negative controls from an app host. $1: the folder of the rig's code."""
GIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionBundle:
    """What a host gets: the service's code, and the packages where they are not those that it has.

    `notes`: in what the revision does not fit this checkout.
    """

    revision: str
    code: Path
    wheels: Path | None
    wheels_hash: str
    notes: tuple[str, ...] = ()


def resolve(text: str) -> str:
    """Returns the name under which a revision is deployed and stored: 12 digits of its commit, or `worktree-` and a
    hash of the files.

    `text`: what git understands (branch, tag, commit, HEAD~1), `worktree` or `.`, or such a name. Raises UsageError
    for a revision that does not exist.
    """
    if text in (WORKTREE, "."):
        return f"{WORKTREE}-{hash_files(ROOT, [*_app_files(ROOT), Path(LOCK.name)])[:DIGITS]}"
    if text.startswith(f"{WORKTREE}-"):
        if text != resolve(WORKTREE):
            raise UsageError(
                f"code={printable(text, 80)}: the files of the checkout have changed since", hint="start a new run"
            )
        return text
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}")
    commit = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0 or not re.fullmatch("[0-9a-f]{40,64}", commit):
        error = printable(done.stderr.decode(errors="replace").strip(), 200)
        raise UsageError(
            f"code={printable(text, 80)}: there is no such revision" + (f": {error}" if error else ""),
            hint=nearest(text, [*_names(), "HEAD", WORKTREE]),
        )
    return commit[:DIGITS]


def entry(revision: str) -> str:
    """Returns the module that starts a revision's service."""
    kind, _, name = revision.partition("-")
    return f"controls.{name.replace('-', '_')}" if kind == CONTROL else "app"


def build_revision(revision: str, *, python: str, machine: str, installed: str) -> RevisionBundle:
    """Makes the files of a resolved revision for hosts with this Python and architecture, in .cache/ unless they exist.

    `installed`: the hash of the packages that the host has; others are built. Raises RigError for a revision without
    the service in its present form, or whose packages cannot be had.
    """
    assert _ID.fullmatch(revision), revision
    with _files_of(revision) as root:
        files, name = _app_files(root), f"revision-{revision}"
        if revision.startswith(f"{CONTROL}-"):
            files += sorted(path.relative_to(root) for path in (root / "controls").glob("*.py"))
            name += f"-{hash_files(root, files)[:DIGITS]}"
        if Path(_ENTRY) not in files or not (root / LOCK.name).is_file():
            missing = _ENTRY if Path(_ENTRY) not in files else LOCK.name
            raise RigError(
                f"code={revision}: it has no {missing}: its service cannot be deployed by this version",
                hint="choose a newer revision",
            )
        lock = (root / LOCK.name).read_bytes()
        wheels_hash = hash_wheels(lock, python, machine)
        try:
            wheels = None if wheels_hash == installed else pack_wheels(lock, python, machine)[0]
        except RigError as error:
            raise RigError(f"code={revision}: {error.message}", hint=error.hint, output=error.output) from None
        schema = (root / _SCHEMA).read_bytes() if Path(_SCHEMA) in files else b""
        notes = () if schema == (ROOT / _SCHEMA).read_bytes() else (
            f"code={revision} has another {_SCHEMA}; the database has the checkout's",
        )  # fmt: skip
        code = pack_code(root, files, name, python)
    return RevisionBundle(revision=revision, code=code, wheels=wheels, wheels_hash=wheels_hash, notes=notes)


def _app_files(root: Path) -> list[Path]:
    """Returns the files of the service, relative to `root`, sorted."""
    return sorted(
        path.relative_to(root)
        for path in (root / "app").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )


@contextmanager
def _files_of(revision: str) -> Iterator[Path]:
    """Yields a folder with the revision's service: a temporary one, or the checkout for `worktree-…` and a control."""
    if revision.startswith(f"{CONTROL}-"):
        yield ROOT
        return
    if revision.startswith(WORKTREE):
        if revision != resolve(WORKTREE):
            raise RigError(f"code={revision}: the files of the checkout have changed since", hint="start a new run")
        yield ROOT
        return
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tree-", dir=CACHE) as folder:
        listed = _git("ls-tree", "--name-only", revision, "--", "app", LOCK.name).stdout.decode().split()
        if listed:  # git archive fails for a path that the revision lacks
            archive = Path(folder) / "archive.tar"
            done = _git("archive", "--format=tar", f"--output={archive}", revision, "--", *listed)
            if done.returncode != 0:
                raise RigError(f"code={revision}: git archive: {printable(done.stderr.decode(errors='replace'), 300)}")
            _extract(archive, Path(folder))
        yield Path(folder)


def _extract(archive: Path, folder: Path) -> None:
    """Writes the regular files of a tar file below a folder; `extractall` of Debian 12 has no filter for that."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            if member.isfile() and not path.is_absolute() and ".." not in path.parts:
                content = tar.extractfile(member)
                assert content is not None
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content.read())


def _names() -> list[str]:
    """Returns the names of branches and tags."""
    listed = _git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags")
    return listed.stdout.decode(errors="replace").split()


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Runs git in the checkout. Raises UsageError where there is no git or the checkout is not a repository."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as set in a git hook
    try:
        if not (ROOT / ".git").exists():
            raise UsageError(f"{ROOT} is not a git repository: it has no other revisions", hint="vary other settings")
        return subprocess.run(
            ["git", *arguments],
            cwd=ROOT, env=env | {"GIT_OPTIONAL_LOCKS": "0"}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=GIT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git cannot be run: {error}", hint="install git") from None
