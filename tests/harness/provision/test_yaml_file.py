"""A YAML file is read within bounds, or refused with file and line."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.provision.yaml_file import MAX_BYTES, line_of, mapping_at, read_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40))
MERGES = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 30))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 2000))
LONG = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 10_000)}]\n"


def refused(folder: Path, content: bytes | str) -> UsageError:
    path = folder / "file.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ("a: 1\nb: {{ port }}\n", 2, "begins with {{ needs quotes"),
        ("a: 1\n? [x, y]\n: 2\n", 2, "a key must be text"),
        ("a: 1\n? {x: y}\n: 2\n", 2, "a key must be text"),
        ("a: 1\nb: 'open\nc: 2\n", 2, "unexpected end of stream"),
        ('a: 1\nb: "open\nc: 2\n', 2, "unexpected end of stream"),
        ("a: 1\nb: x\0y\n", 2, "control character U+0000"),
        ("a: 1\nb: \x1b[31m\n", 2, "control character U+001B"),
        (b"a: 1\nb: M\xfcller\n", 2, "not UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, "not UTF-8"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a'"),
        ("a: 1\n1: x\n'1': y\n", 3, "duplicate key '1'"),
        ("yes: 1\ntrue: 2\n", 2, "duplicate key 'true'"),
        ("a: [{b: 1, b: 2}]\n", 1, "duplicate key 'b'"),
        ("a: 1\nb: &b [1, *b]\n", 2, "contains itself"),
        ("a: 1\nb: &b {c: *b}\n", 2, "contains itself"),
        ("a: 1\nb: 2001-13-45\n", 2, "'2001-13-45' is not a valid timestamp"),
        ("a: 1\nb: !!int x\n", 2, "'x' is not a valid int"),
        ("a: 1\nb: 0b_\n", 2, "is not a valid int"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, "is not a valid int"),
        ("a: 1\nb: !vault |\n  x\n", 2, "!vault"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "python/object"),
        ("a: 1\n---\nb: 1\n", 2, "another document"),
        ("a: 1\nb: " + "[" * 100_000, 2, "levels deep"),
        ("a: 1\nb: " + "{a: " * 50_000, 2, "levels deep"),
        ("- " * 100_000, 1, "levels deep"),
        (CHAIN, 50, "levels deep"),
        (BOMB, 7, "aliases make more than"),
        (MERGES, 7, "aliases make more than"),
        (LONG, 2, "aliases make more than"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_at_its_line_at_once(
    tmp_path: Path, content: bytes | str, line: int, message: str
) -> None:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refused(tmp_path, content)
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert error.message.startswith(f"{tmp_path}/file.yml:{line}: ")
    assert message in error.message


def test_large_and_special_files_are_not_read(tmp_path: Path) -> None:
    assert "larger than" in refused(tmp_path, "#" * (MAX_BYTES + 1)).message
    os.mkfifo(tmp_path / "pipe.yml")
    for name in ("pipe.yml", ".", "/dev/zero"):
        with pytest.raises(UsageError, match="not a regular file"):
            read_yaml(tmp_path / name)
    with pytest.raises(UsageError, match="No such file"):
        read_yaml(tmp_path / "none.yml")


def test_aliases_and_merge_keys_of_normal_size_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n")
    assert read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}
    assert line_of(path, ("b", "y")) == 2
    path.write_text("")
    assert read_yaml(path) is None


def test_keys_of_a_mapping_are_text(tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_text("a: 1\n2: x\n")
    with pytest.raises(UsageError, match=r"file\.yml:2: the key '2' in the file is not text"):
        mapping_at(path, (), read_yaml(path))
