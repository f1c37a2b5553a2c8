"""The deployed files are named by their content, and the same content makes the same files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import bundle
from tests.repo.test_layers import HOST_CODE


def make_root(folder: Path) -> Path:
    """A small checkout: one file of each kind."""
    files = {
        "app/a.py": "x = 1\n",
        "app/schema.sql": "--\n",
        "harness/__init__.py": "",
        "harness/cli/dev.py": "",
        "harness/errors.py": "",
        "harness/load/job.py": "y = 2\n",
        "harness/report/templates/page.css": "",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "app/__pycache__").mkdir()
    (folder / "app/__pycache__/a.pyc").write_text("old")
    (folder / "app/.hidden").write_text("no")
    (folder / "tests").mkdir()
    return folder


def test_only_the_app_and_host_code_are_deployed(tmp_path: Path) -> None:
    names = [str(path) for path in bundle.code_files(make_root(tmp_path))]
    assert names == ["app/a.py", "app/schema.sql", "harness/__init__.py", "harness/errors.py", "harness/load/job.py"]


def test_the_deployed_code_is_what_the_layer_test_calls_host_code() -> None:
    assert bundle.HOST_CODE == HOST_CODE
    deployed = {path.parts[1].removesuffix(".py") for path in bundle.code_files(bundle.ROOT) if path.parts[0] != "app"}
    assert deployed == {"__init__", *HOST_CODE}


@pytest.mark.parametrize(
    ("file", "is_host_code"),
    [
        ("app/service.py", True),
        ("harness/load/engine.py", True),
        ("harness/isolation/cases.py", True),
        ("harness/host_scripts/sampler.py", True),
        ("harness/model.py", True),
        ("harness/report/page.py", False),
        ("harness/report/templates/page.css", False),
        ("harness/selfbench/null_server.py", False),
        ("harness/cli/dev.py", False),
    ],
)
def test_only_a_change_of_host_code_changes_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, is_host_code: bool
) -> None:
    for folder in ("app", "harness"):
        shutil.copytree(bundle.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    before = bundle.checkout_hash()
    with (tmp_path / file).open("a") as edited:  # fails if there is no such file: mode "a" would make it
        assert edited.tell() > 0
        edited.write("\n")
    assert (bundle.checkout_hash() != before) is is_host_code


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A folder with the deployed files and nothing else."""
    for file in bundle.code_files(bundle.ROOT):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.ROOT / file, tmp_path / file)
    return tmp_path


def run_python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with `folder` on its path, and not this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PORT": "none"}
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, input="{}\n", capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("module", "answer"),
    [
        ("harness.load.agent", '{"event": "error", "message": '),
        ("harness.isolation", '{"event": "error", "message": '),
        ("app", "app: PORT='none': expected a number"),
    ],
)
def test_the_deployed_programs_start_without_the_rest(deployed: Path, module: str, answer: str) -> None:
    done = run_python(deployed, "-m", module)
    assert done.returncode == 2
    assert answer in done.stdout + done.stderr


def test_every_deployed_module_imports_without_the_rest(deployed: Path) -> None:
    names = [
        ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        for path in bundle.code_files(bundle.ROOT)
        if path.suffix == ".py" and path.name != "__main__.py"
    ]
    assert "harness.load.worker" in names
    program = f"import importlib\nfor name in {names}: print(importlib.import_module(name).__file__)"
    done = run_python(deployed, "-c", program)
    assert done.returncode == 0, done.stderr
    assert all(Path(file).is_relative_to(deployed) for file in done.stdout.split())


def test_the_hash_covers_names_and_contents(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    files = bundle.code_files(root)
    before = bundle.hash_files(root, files)
    assert bundle.hash_files(root, files) == before
    (root / "app/a.py").write_text("x = 2\n")
    changed = bundle.hash_files(root, files)
    (root / "app/a.py").write_text("x = 1\n")
    (root / "app/a.py").rename(root / "app/z.py")
    renamed = bundle.hash_files(root, bundle.code_files(root))
    assert len({before, changed, renamed}) == 3


def test_the_file_is_the_same_each_time_and_contains_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "ROOT", make_root(tmp_path / "root"))
    (tmp_path / "lock").write_text("")
    monkeypatch.setattr(bundle, "LOCK", tmp_path / "lock")  # pip installs nothing from an empty list
    digests = set()
    for place in ("one", "two"):
        monkeypatch.setattr(bundle, "CACHE", tmp_path / place)
        made = bundle.build_bundle(python="{}.{}".format(*bundle.sys.version_info))
        assert made.compiled
        digests.add(hashlib.sha256(made.code.read_bytes()).hexdigest())
        assert not list((tmp_path / place).glob("bundle-*"))
        with tarfile.open(made.code) as tar:
            names = set(tar.getnames())
            assert {(entry.uid, entry.mtime) for entry in tar} == {(0, 0)}
        assert {"app/a.py", "app/schema.sql", "harness/load/job.py"} <= names
        assert any(name.startswith("app/__pycache__/a.") and name.endswith(".pyc") for name in names)
        assert not any("hidden" in name or name.startswith(("tests", "harness/report")) for name in names)
    assert len(digests) == 1


def test_a_package_without_its_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bundle, "LOCK", tmp_path / "lock")
    (tmp_path / "lock").write_text("idna==3.10\n")
    with pytest.raises(RigError, match=r"packages for Python 3\.11"):
        bundle.build_bundle()
    assert not list((tmp_path / "cache").glob("wheels-*"))


LOCK = """\
a==1 \\
    --hash=sha256:00 \\
    --hash=sha256:01
b==1 ; python_full_version < '3.11' \\
    --hash=sha256:02
b==2 ; python_full_version >= '3.11' \\
    --hash=sha256:03
c==1 ; sys_platform == 'win32' \\
    --hash=sha256:04
"""


def test_markers_are_evaluated_for_the_host_and_not_for_this_machine() -> None:
    assert bundle.lines_for(LOCK, "3.10", "x86_64").split() == [
        "a==1", "\\", "--hash=sha256:00", "\\", "--hash=sha256:01", "b==1", "\\", "--hash=sha256:02",
    ]  # fmt: skip
    assert "b==2" in bundle.lines_for(LOCK, "3.11", "x86_64")
    assert "c==1" not in bundle.lines_for(LOCK, "3.13", "aarch64")


def test_a_package_without_a_wheel_for_the_platform_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "CACHE", tmp_path / "cache")
    with pytest.raises(RigError, match=r"packages for Python 3\.11 on vax: .*==") as missing:
        bundle.build_bundle(machine="vax")
    assert not list((tmp_path / "cache").glob("wheels-*")), missing.value


def test_a_package_index_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "PIP_S", 0.05)
    with pytest.raises(RigError, match=r"pip did not install the packages for Python 3\.11 on x86_64 within 0\.05 s"):
        bundle._install(tmp_path / "tree", bundle.LOCK.read_text(), "3.11", "x86_64")
