"""Files of a run folder: written atomically, and read as untrusted input."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml

from harness.errors import FormatError, RigError
from harness.store.csv_rows import as_cell
from harness.text import printable

MAX_MANIFEST_BYTES = 32 * 2**20
MAX_HISTOGRAM_BYTES = 2**20
MAX_SUMMARY_BYTES = 4 * 2**20
MAX_TRIALS_BYTES = 8 * 2**20
"""Size of trials.csv, whose rows are all in memory: 10,000 trials take about 4 MB. Other tables are streamed."""
MAX_EVIDENCE_BYTES = 64 * 2**20
MAX_JSON_VALUES = 3_000_000
"""Separators in an evidence file; a ledger has four per request, and each takes at most 100 bytes in memory."""
MAX_COLUMNS = 200
MAX_CELLS = 2_000_000
"""Cells of a table that is held in memory; each takes at most 100 bytes."""
MAX_LINE = 2**20
"""Characters in a line of a table, so that a file without line breaks does not fill the memory."""
MAX_DEPTH = 24
"""Nesting of a manifest: parsing takes time with the square of the depth, and composing recurses."""
MAX_NODES = 500_000
"""Values of a manifest: ten thousand findings have 150,000; each takes about 10 µs and 500 bytes."""


class disk_errors:  # noqa: N801  # used as `with disk_errors(path):`
    """Turns an OSError, such as a full or read-only disk, into a RigError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            raise RigError(
                f"{self.path}: {error.strerror or error}",
                hint="free disk space; finished trials are kept, continue with: bench --resume RUN"
                if full
                else "results are in results/ or in PGCRUCIBLE_RESULTS: name a folder that can be written",
            ) from error


def write_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text; a reader sees either the old file or the new one. Raises RigError on a full disk."""
    part = path.with_name(f".{path.name}.part")
    with disk_errors(path):
        try:
            part.unlink(missing_ok=True)
            with part.open("x", encoding="utf-8") as file:  # never through a symbolic link
                file.write(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def update_symlink(link: Path, target: str) -> None:
    """Points the symbolic link at `target` atomically. Raises RigError."""
    part = link.with_name(f".latest-{os.getpid()}")
    with disk_errors(link):
        try:
            part.unlink(missing_ok=True)
            part.symlink_to(target)
            part.replace(link)
        finally:
            part.unlink(missing_ok=True)


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Appends rows to a CSV file, all or none, after a header if it is empty.

    Raises FormatError if the file has another header or no line break at its end: the rows would be read wrong.
    Raises RigError on a full disk.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    with disk_errors(path):
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            end = os.fstat(file).st_size
            if end == 0:
                writer.writeheader()
            else:
                _check_end(path, file, columns, end)
            writer.writerows({k: as_cell(v) for k, v in row.items()} for row in rows)
            rest = memoryview(text.getvalue().encode())
            try:
                while rest:
                    rest = rest[os.write(file, rest) :]
            except OSError:
                os.ftruncate(file, end)  # a partial row would make the table unreadable
                raise
        finally:
            os.close(file)


def _check_end(path: Path, file: int, columns: Sequence[str], end: int) -> None:
    header = f"{','.join(columns)}\n".encode()
    if os.pread(file, len(header), 0) != header or os.pread(file, 1, end - 1) != b"\n":
        raise FormatError(
            f"{path}: the table was changed by another program, or by another version", hint="start a new run"
        )


def is_own(path: Path) -> bool:
    """Whether the path is a regular file of the run folder, not reached through a symbolic link."""
    return path.is_file() and not path.is_symlink() and not path.parent.is_symlink()


def read_text(path: Path, limit: int) -> str:
    """Reads a regular file of at most `limit` bytes as UTF-8 text. Raises FormatError."""
    _require_regular(path, limit)
    return path.read_text(encoding="utf-8")


def _require_regular(path: Path, limit: int) -> None:
    if path.is_symlink() or not path.is_file():
        raise FormatError(f"{path} is not a regular file", hint="this file was not written by pgcrucible")
    if path.stat().st_size > limit:
        raise FormatError(f"{path} is larger than {limit:,} bytes", hint="this file was not written by pgcrucible")


def read_json_text(path: Path, limit: int) -> str:
    """Reads a JSON file as the writer writes it: ASCII, so that a character takes one byte in memory.

    Raises FormatError for another file, and for one whose values would take more than about 300 MB.
    """
    _require_regular(path, limit)
    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise FormatError(f"{path} is not ASCII", hint="this file was not written by pgcrucible") from None
    if sum(map(text.count, ",:[{")) > MAX_JSON_VALUES:
        raise FormatError(
            f"{path}: more than {MAX_JSON_VALUES:,} values", hint="this file was not written by pgcrucible"
        )
    return text


def read_table(path: Path, columns: Sequence[str], *, later: Collection[str] = ()) -> list[dict[str, str]]:
    """Reads `columns` of all rows of a CSV file as text; none if the file is absent. Raises FormatError.

    Equal texts share their memory.
    """
    texts: dict[str, str] = {}
    rows: list[dict[str, str]] = []
    for row in read_rows(path, columns, later=later):
        if len(rows) * len(columns) >= MAX_CELLS:
            raise FormatError(f"{path}: more than {MAX_CELLS:,} cells", hint="the table is too large to be drawn")
        rows.append({name: texts.setdefault(row[name], row[name]) for name in columns if name in row})
    return rows


def read_rows(path: Path, columns: Sequence[str], *, later: Collection[str] = ()) -> Iterator[dict[str, str]]:
    """Streams the rows of a CSV file as text; none if the file is absent.

    The columns may be in any order, and unknown ones are kept; those in `later` may be absent, because older versions
    did not write them. Raises FormatError for a missing or repeated column and for a row with too many or too few
    fields: a table that another program has saved is read right, or not at all.
    """
    if not path.is_file() or path.is_symlink():
        return
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(_lines(file), strict=True)
            names = next(reader, [])
            _check_header(path, names, [name for name in columns if name not in later])
            for fields in reader:
                if len(fields) == len(names):
                    yield dict(zip(names, fields, strict=True))
                elif fields:
                    raise FormatError(
                        f"{path}:{reader.line_num}: {len(fields)} fields, but the header has {len(names)}",
                        hint="the table is damaged, or was saved by another program",
                    )
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: {printable(error, 200)}", hint="the table is damaged") from error


def _check_header(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    if not names:
        return
    if len(names) > MAX_COLUMNS:
        raise FormatError(f"{path}: more than {MAX_COLUMNS} columns", hint="this file was not written by pgcrucible")
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise FormatError(f"{path}:1: the column '{printable(repeated, 80)}' is there twice", hint="remove one of them")
    if missing := [name for name in required if name not in names]:
        other = next((char for char in (";", "\t") if len(names) == 1 and char in names[0]), "")
        raise FormatError(
            f"{path}:1: no column '{missing[0]}'",
            hint="fields are separated by commas" if other else f"columns: {', '.join(required)}",
        )


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise csv.Error(f"a line of more than {MAX_LINE:,} characters")
        yield line


def keep_rows(path: Path, columns: Sequence[str], keep: Callable[[Mapping[str, str]], bool]) -> None:
    """Atomically removes the rows for which `keep` is false. Raises RigError on a full disk."""
    if all(keep(row) for row in read_rows(path, columns)):
        return
    part = path.with_name(f".{path.name}.part")
    with disk_errors(path):
        try:
            part.unlink(missing_ok=True)
            with part.open("x", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
                writer.writeheader()
                writer.writerows(row for row in read_rows(path, columns) if keep(row))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


class _Plain(yaml.CSafeLoader):
    """YAML with the values of JSON only: no dates, no 1:30 for 90, no 0x, no number of 20 digits, no Infinity.

    For a number in base 60, PyYAML takes time with the square of its length; a long hexadecimal number raises an error
    in Python when it is printed.
    """


_Plain.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"-?(?:0|[1-9][0-9]{0,18})", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]{0,18})\.[0-9]{1,30}(?:e[+-]?[0-9]{1,2})?", list("-0123456789")),
):
    _Plain.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def parse_yaml(path: Path, text: str) -> Any:
    """Parses plain data. Raises FormatError or yaml.YAMLError."""
    check_yaml(path, text)
    return yaml.load(text, Loader=_Plain)  # noqa: S506  # stricter than the safe loader


def check_yaml(path: Path, text: str) -> None:
    """Raises FormatError for aliases, tags, and too many or too deep values, before any value is built."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        problem = _yaml_problem(event, depth, count)
        if problem:
            raise FormatError(f"{path}: {problem}", hint="this file was not written by pgcrucible")


def _yaml_problem(event: yaml.Event, depth: int, count: int) -> str:
    """Why an event is not accepted: the one at this depth, after `count` others. Empty if it is."""
    if isinstance(event, yaml.AliasEvent):
        return "aliases are not allowed"
    if tag := getattr(event, "tag", None):
        return f"the tag {printable(tag, 200)} is not allowed"
    if depth > MAX_DEPTH:
        return "nested too deeply"
    return f"more than {MAX_NODES:,} values" if count > MAX_NODES else ""
