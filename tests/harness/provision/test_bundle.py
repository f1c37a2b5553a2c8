"""What is deployed is named by its content, and the same content makes the same file."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import bundle


def make_root(folder: Path) -> Path:
    for name, text in {"app/a.py": "x = 1\n", "app/schema.sql": "--\n", "harness/b/c.py": "y = 2\n"}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "app/__pycache__").mkdir()
    (folder / "app/__pycache__/a.pyc").write_text("old")
    (folder / "app/.hidden").write_text("no")
    (folder / "tests").mkdir()
    return folder


def test_only_app_and_harness_are_deployed(tmp_path: Path) -> None:
    names = [str(path) for path in bundle.code_files(make_root(tmp_path))]
    assert names == ["app/a.py", "app/schema.sql", "harness/b/c.py"]


def test_the_hash_stands_for_names_and_contents(tmp_path: Path) -> None:
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


def test_the_file_is_the_same_each_time_and_holds_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert {"app/a.py", "app/schema.sql", "harness/b/c.py"} <= names
        assert any(name.startswith("app/__pycache__/a.") and name.endswith(".pyc") for name in names)
        assert not any("hidden" in name or name.startswith("tests") for name in names)
    assert len(digests) == 1


def test_a_package_without_its_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(bundle, "LOCK", tmp_path / "lock")
    (tmp_path / "lock").write_text("idna==3.10\n")
    with pytest.raises(RigError, match=r"packages for Python 3\.11"):
        bundle.build_bundle()
    assert not list((tmp_path / "cache").glob("wheels-*"))
