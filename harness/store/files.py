"""Files of a run folder: written whole or not at all; read without trusting whoever made them."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from harness.errors import FormatError, RigError
from harness.store.csv_rows import as_cell
from harness.text import shown

MAX_MANIFEST_BYTES = 32 * 2**20
MAX_HISTOGRAM_BYTES = 2**20
MAX_TABLE_BYTES = 256 * 2**20
MAX_COLUMNS = 200
MAX_LINE = 2**20
"""Characters of a table's line: a file without line breaks must not fill the memory."""
MAX_DEPTH = 24
"""Of a manifest: parsing time grows with the square of the depth, and composing recurses."""
MAX_NODES = 500_000
"""Of a manifest: ten thousand findings have 150,000; each costs about 10 µs and 500 bytes."""


class disk_errors:  # noqa: N801  # reads as a phrase: `with disk_errors(path):`
    """Turns a full or read-only disk into a RigError that says what is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise RigError(
                f"{self.path}: {error.strerror or error}",
                hint="free some space; what was measured before is kept, go on with: bench --resume RUN",
            ) from error


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text so that a reader sees the old file or the new one. Raises RigError on a full disk."""
    part = path.with_name(f".{path.name}.part")
    with disk_errors(path):
        try:
            part.unlink(missing_ok=True)
            with part.open("x", encoding="utf-8") as file:  # never through a link that lies there
                file.write(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def update_symlink(link: Path, target: str) -> None:
    """Makes the symbolic link lead to `target`, in one step."""
    part = link.with_name(f".latest-{os.getpid()}")
    with disk_errors(link):
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.replace(link)


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends rows to a CSV file, all or none; the header comes with the first. Raises RigError on a full disk."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    with disk_errors(path):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            end = os.fstat(file).st_size
            if end == 0:
                writer.writeheader()
            writer.writerows({k: as_cell(v) for k, v in row.items()} for row in rows)
            rest = memoryview(text.getvalue().encode())
            try:
                while rest:
                    rest = rest[os.write(file, rest) :]
            except OSError:
                os.ftruncate(file, end)  # half a row would make all rows unreadable
                raise
        finally:
            os.close(file)


def is_own(path: Path) -> bool:
    """A regular file of the run folder itself: nothing is read through a link that a foreign folder may hold."""
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def read_text(path: Path, limit: int) -> str:
    """A regular file of at most `limit` bytes as UTF-8 text. Raises FormatError."""
    if path.is_symlink() or not path.is_file():
        raise FormatError(f"{path} is not a regular file", hint="this is not a file of ours")
    if path.stat().st_size > limit:
        raise FormatError(f"{path} is larger than {limit:,} bytes", hint="this is not a file of ours")
    return path.read_text(encoding="utf-8")


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as text, all at once; none where the file is absent. Raises FormatError."""
    if path.is_file() and path.stat().st_size > MAX_TABLE_BYTES:
        raise FormatError(f"{path} is larger than {MAX_TABLE_BYTES:,} bytes", hint="this is not a file of ours")
    return list(read_rows(path))


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file of any length, one by one, as text; none where the file is absent. Raises FormatError."""
    if not path.is_file() or path.is_symlink():
        return
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(_lines(file), strict=True)
            if len(reader.fieldnames or ()) > MAX_COLUMNS:  # each row would be filled up to as many
                raise FormatError(f"{path}: more than {MAX_COLUMNS} columns", hint="this is not a file of ours")
            yield from reader
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {error}", hint="the table is damaged") from error


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise csv.Error(f"a line of more than {MAX_LINE:,} characters")
        yield line


def keep_rows(path: Path, columns: Sequence[str], keep: Callable[[Mapping[str, str]], bool]) -> None:
    """Drops the rows of a CSV file that are not to be kept, whole or not at all. Raises RigError on a full disk."""
    if all(keep(row) for row in read_rows(path)):
        return
    part = path.with_name(f".{path.name}.part")
    with disk_errors(path):
        try:
            part.unlink(missing_ok=True)
            with part.open("x", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(row for row in read_rows(path) if keep(row))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


class _Plain(yaml.CSafeLoader):
    """YAML with the values of JSON alone: no dates, no 1:30 for 90, no 0x, no number beyond 19 digits.

    What is left out costs more than it looks: PyYAML takes time with the square of the length for a number in base
    60, and Python can hold a hexadecimal number that it then refuses to print.
    """


_Plain.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"-?(?:0|[1-9][0-9]{0,18})", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]{0,18})\.[0-9]{1,30}(?:e[+-]?[0-9]{1,3})?", list("-0123456789")),
):
    _Plain.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_yaml(path: Path, text: str) -> Any:
    """Plain data. Raises FormatError, or yaml.YAMLError."""
    check_yaml(path, text)
    return yaml.load(text, Loader=_Plain)  # noqa: S506  # narrower than the safe loader


def check_yaml(path: Path, text: str) -> None:
    """Raises FormatError for aliases, tags, and more or deeper values than a manifest has, before any is made."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        problem = ""
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases are not allowed"
        elif tag := getattr(event, "tag", None):
            problem = f"the tag {shown(tag)} is not allowed"
        elif depth > MAX_DEPTH:
            problem = "nested too deeply"
        elif count > MAX_NODES:
            problem = f"more than {MAX_NODES:,} values"
        if problem:
            raise FormatError(f"{path}: {problem}", hint="this is not a file of ours")
