"""The inputs of the hosts' image; its tag changes with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.provision import image
from harness.rig.state import ROLES_DIR

DEB822 = """\
Types: deb
# a comment in the middle
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://third.example/postgresql
Suites: bookworm-pgdg
Components: main
"""
KEY = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"


def test_the_packages_are_exactly_those_of_the_roles() -> None:
    packages = image.role_packages(ROLES_DIR)
    listed = {
        package
        for name, value in image.role_defaults(ROLES_DIR).items()
        if name.endswith("_packages")
        for package in value
    }
    assert set(packages) == listed | set(image.BASE)
    assert {"postgresql", "haproxy"} <= listed


def test_an_expression_in_a_package_list_is_refused(tmp_path: Path) -> None:
    defaults = tmp_path / "db/defaults"
    defaults.mkdir(parents=True)
    (defaults / "main.yml").write_text("db_packages: ['postgresql-{{ version }}']\n")
    with pytest.raises(UsageError, match="is not a package name"):
        image.role_packages(tmp_path)


def test_debians_archive_is_used_as_this_machine_reaches_it() -> None:
    assert image.debian_sources({"debian.sources": DEB822}) == (
        f"deb {KEY} http://mirror.example/debian bookworm main",
        f"deb {KEY} http://mirror.example/debian bookworm-updates main",
    )
    one_line = "# deb http://no.example/debian bookworm main\ndeb [arch=amd64] http://m.example/debian/ bookworm main\n"
    assert image.debian_sources({"sources.list": one_line}) == (f"deb {KEY} http://m.example/debian/ bookworm main",)


def test_sources_of_another_system_are_refused() -> None:
    ubuntu = {"sources.list": "deb http://archive.ubuntu.example/ubuntu jammy main\n"}
    with pytest.raises(UsageError, match="no archive of Debian"):
        image.debian_sources(ubuntu)


def test_proxies_are_kept_and_index_formats_are_not() -> None:
    dump = 'Acquire::http::Proxy "http://proxy:3142";\nAcquire::IndexTargets::deb "";\nAPT::Architecture "amd64";\n'
    assert image.apt_settings(dump) == ('Acquire::http::Proxy "http://proxy:3142";',)


def test_the_tag_changes_with_the_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "CACHE", tmp_path / "cache")
    etc = tmp_path / "etc"
    (etc / "apt/sources.list.d").mkdir(parents=True)
    (etc / "apt/sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    first = image.prepare(ROLES_DIR, etc=etc, local=tmp_path)
    assert image.prepare(ROLES_DIR, etc=etc, local=tmp_path) == first
    assert (first.folder / "packages").read_text().split() == list(first.packages)
    (etc / "apt/sources.list.d/debian.sources").write_text(DEB822)
    second = image.prepare(ROLES_DIR, etc=etc, local=tmp_path)
    authorities = tmp_path / "share/ca-certificates"
    authorities.mkdir(parents=True)
    (authorities / "own.crt").write_text("x")
    third = image.prepare(ROLES_DIR, etc=etc, local=tmp_path)
    assert len({first.tag, second.tag, third.tag}) == 3
    assert (third.folder / "ca/own.crt").read_text() == "x"


def test_only_the_newest_recipes_stay_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of the packages or sources left a folder for good."""
    monkeypatch.setattr(image, "CACHE", tmp_path / "cache")
    etc = tmp_path / "etc"
    (etc / "apt").mkdir(parents=True)
    (etc / "apt/sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    used = image.prepare(ROLES_DIR, etc=etc, local=tmp_path)
    for number in range(12):
        (tmp_path / f"cache/image-{number:012x}/ca").mkdir(parents=True)
        os.utime(tmp_path / f"cache/image-{number:012x}", (1000 + number, 1000 + number))
    os.utime(used.folder, (1, 1))
    (tmp_path / "cache/vm-0").mkdir()
    image.prepare(ROLES_DIR, etc=etc, local=tmp_path)
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {used.folder.name, "vm-0", *(f"image-{number:012x}" for number in range(3, 12))}
