"""Builds what app and load hosts get: two tar files, made on the controller and named by their content.

`code`    app/ and the host code of harness/ (`HOST_CODE`)
`wheels`  the packages of requirements-host.lock, checked against its hashes and installed into one tree for the
          hosts' Python and architecture; a host unpacks the tree and puts it on PYTHONPATH

A tree instead of wheels: pip needs a minute for 18 wheels on nine hosts that share two cores, and each host would
need pip or uv. Unpacking takes 0.4 s and needs neither. Hosts with another Python or architecture get a tree for
theirs: `build_bundle(python=…, machine=…)`. Both tars contain bytecode if the controller's Python has the hosts'
minor version (`compiled`): a service under its own user cannot write bytecode, and compiling at each start takes
ten seconds on a host capped at a tenth of a core.

The files are deterministic (sorted, without times and owners): the same content has the same hash.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

from harness.errors import RigError
from harness.rig.state import CACHE, ROOT

LOCK = ROOT / "requirements-host.lock"
HOST_CODE = ("errors", "model", "fault_record", "record", "text", "host_scripts", "load", "isolation")
"""The modules and packages of harness/ that hosts get. A change in the rest leaves a provisioned rig usable."""

HOST_PYTHON = "3.11"
"""Debian 12 has it, and so have the hosts that the podman and vm providers make."""

PIP_S = 900.0
"""Longest time for pip to download and unpack the packages of the hosts, about 40 MB."""

KEPT = 10
"""How many versions of the code stay in the cache: each edit of host code makes one."""

GLIBC_MINOR = 35
"""The oldest C library among the supported hosts (Ubuntu 22.04); wheels that need a newer one are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Paths and hashes of the two files; `compiled` if they contain bytecode."""

    code: Path
    code_hash: str
    wheels: Path
    wheels_hash: str
    compiled: bool

    def variables(self) -> dict[str, str | bool]:
        """The variables of the roles."""
        return {
            "bundle_code": str(self.code),
            "bundle_code_hash": self.code_hash,
            "bundle_wheels": str(self.wheels),
            "bundle_wheels_hash": self.wheels_hash,
            "bundle_compiled": self.compiled,
        }


def checkout_hash() -> str:
    """Returns the `Bundle.code_hash` of the code as it is now."""
    return hash_files(ROOT, code_files(ROOT))


def build_bundle(*, python: str = HOST_PYTHON, machine: str = "") -> Bundle:
    """Makes both files in .cache/ unless they exist. Raises RigError if a package cannot be downloaded."""
    machine = machine or platform.machine()
    files = code_files(ROOT)
    code_hash = hash_files(ROOT, files)
    code = pack_code(ROOT, files, f"code-{code_hash}", python)
    wheels, wheels_hash = pack_wheels(LOCK.read_bytes(), python, machine)
    return Bundle(code=code, code_hash=code_hash, wheels=wheels, wheels_hash=wheels_hash, compiled=is_compiled(python))


def is_compiled(python: str) -> bool:
    """Returns whether the trees for hosts with this Python contain bytecode."""
    return python == f"{sys.version_info.major}.{sys.version_info.minor}"


def pack_code(root: Path, files: Iterable[Path], name: str, python: str) -> Path:
    """Returns the tar file of the files, relative to `root`, in .cache/ under this name; makes it unless it exists.

    `name` has the form `kind-version`; only the newest versions of a kind are kept.
    """
    code = CACHE / f"{name}-{python}.tar.gz"
    CACHE.mkdir(exist_ok=True)
    if not code.exists():
        with tempfile.TemporaryDirectory(prefix="bundle-", dir=CACHE) as temporary:
            tree = Path(temporary) / "code"
            for file in files:
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / file, tree / file)
            _store(tree, code, compiled=is_compiled(python))
        kind = name.partition("-")[0]
        for old in sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            old.unlink(missing_ok=True)
    return code


def pack_wheels(lock: bytes, python: str, machine: str) -> tuple[Path, str]:
    """Returns the tar file in .cache/ with the packages of a lock file, and its hash; makes it unless it exists.

    Raises RigError if a package cannot be downloaded.
    """
    wheels_hash = hash_wheels(lock, python, machine)
    wheels = CACHE / f"wheels-{wheels_hash}.tar.gz"
    CACHE.mkdir(exist_ok=True)
    if not wheels.exists():
        with tempfile.TemporaryDirectory(prefix="bundle-", dir=CACHE) as temporary:
            tree = Path(temporary) / "wheels"
            _install(tree, lock.decode(), python, machine)
            _store(tree, wheels, compiled=is_compiled(python))
    return wheels, wheels_hash


def hash_wheels(lock: bytes, python: str, machine: str) -> str:
    """Returns the hash of the tree that these packages make on a host with this Python and architecture."""
    return hashlib.sha256(f"1 {python} {machine} {is_compiled(python)} ".encode() + lock).hexdigest()[:16]


def code_files(root: Path) -> list[Path]:
    """Returns the files that are deployed, relative to `root`, sorted."""
    harness = root / "harness"
    modules = [harness / f"{name}.py" for name in ("__init__", *HOST_CODE)]
    folders = [root / "app", *(harness / name for name in HOST_CODE)]
    return sorted(
        path.relative_to(root)
        for path in (*modules, *(file for folder in folders for file in folder.rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """Returns 16 hex digits of a hash over names and contents."""
    digest = hashlib.sha256()
    for file in files:
        content = (root / file).read_bytes()
        digest.update(f"{file.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def lines_for(lock: str, python: str, machine: str) -> str:
    """Returns the lock's lines that apply to a Linux host with that Python and architecture, without their markers.

    pip evaluates markers for the Python it runs on and ignores --python-version there.
    """
    host = {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "os_name": "posix",
        "python_full_version": f"{python}.99",
        "python_version": python,
        "sys_platform": "linux",
    }
    kept = []
    for entry in re.split(r"\n(?=\S)", lock.strip()):
        requirement, continued, hashes = entry.partition(" \\\n")
        name, _, marker = requirement.partition(" ; ")
        if not marker or Marker(marker).evaluate(host):
            kept.append(name + continued + hashes)
    return "\n".join(kept) + "\n"


def _install(tree: Path, packages: str, python: str, machine: str) -> None:
    lock = tree.with_suffix(".lock")
    lock.write_text(lines_for(packages, python, machine))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 16, -1)]
    platforms += [f"manylinux{tag}_{machine}" for tag in ("2014", "2010", "1")]
    command = [
        *(sys.executable, "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--require-hashes", "--no-deps", "--only-binary=:all:", "--requirement", str(lock)),
        *("--target", str(tree), "--python-version", python, "--implementation", "cp"),
        *(part for tag in platforms for part in ("--platform", tag)),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PIP_S)
    except subprocess.TimeoutExpired:
        raise RigError(
            f"pip did not install the packages for Python {python} on {machine} within {PIP_S:g} s",
            hint="check that the package index can be reached (pip config list), then run ./run provision again",
        ) from None
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no message"]
        raise RigError(
            f"pip could not install the packages for Python {python} on {machine}: {errors[-1]}",
            hint="check that the package index can be reached (pip config list)",
            output=done.stderr[-2000:],
        )
    shutil.rmtree(tree / "bin", ignore_errors=True)  # scripts that point at the controller's Python


def _store(tree: Path, target: Path, *, compiled: bool) -> None:
    """Packs `tree` as `target`, whole or not at all, with bytecode that is valid whatever the source's time is."""
    if compiled:
        for source in sorted(tree.rglob("*.py")):
            py_compile.compile(
                str(source),
                dfile=str(source.relative_to(tree)),
                quiet=2,  # some packages ship tests with broken syntax on purpose
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
    partial = tree.with_suffix(".tar.gz")
    with (
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(tree.rglob("*")):
            entry = tar.gettarinfo(str(path), str(path.relative_to(tree)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mtime = 0
            entry.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
            if path.is_file():
                with path.open("rb") as content:
                    tar.addfile(entry, content)
            else:
                tar.addfile(entry)
    partial.replace(target)
