"""Reads YAML files within bounds of size and depth, and reports what is wrong in them with file and line."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any, NoReturn

import yaml

from harness.errors import UsageError
from harness.text import nearest, printable

MAX_BYTES = 2**20
MAX_EXPANDED = 2**22
"""Characters of a file after its aliases are expanded: a few lines can make gigabytes."""
MAX_DEPTH = 50
"""Levels of nesting. The C parser overflows the stack at some ten thousand."""
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


GIVE_INVENTORY = "give --inventory FILE"


def read_yaml(path: Path, *, texts: bool = False, hint: str = GIVE_INVENTORY) -> Any:
    """Returns the content of the file. Raises UsageError with file and line for anything that is not plain YAML.

    Refused are also duplicate keys, keys that are not text or a number, anchors that contain themselves, and files
    that are larger or deeper than the limits above. `texts`: every value is a text as it is written (`on` and `0123`
    too), and `<<` merges nothing. `hint`: what to do where the file cannot be read.
    """
    text = _read_text(path, hint)
    if text.startswith("$ANSIBLE_VAULT"):
        raise UsageError(f"{path}:1: a file encrypted with ansible-vault is not supported", hint="decrypt it")
    try:
        _require_shallow(text, path)
        loader = _TextLoader(text) if texts else _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Checker(path, loader).measure(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark and "end of stream" in str(error.problem):
            mark = error.context_mark  # where the open quote or bracket is
        hint = (
            "tags of Ansible are not supported"
            if "tag" in str(error.problem)
            else "check the indentation and the quotes"
        )
        _refuse(path, mark, f"not YAML: {printable(error.problem)}", hint)
    except yaml.YAMLError as error:
        raise UsageError(f"{path}:1: not YAML: {printable(error)}") from None


def _read_text(path: Path, hint: str = GIVE_INVENTORY) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a named pipe would block, a device has no end
            raise UsageError(f"{path}: cannot be read: not a regular file", hint=hint)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: cannot be read: not UTF-8", hint="save the file as UTF-8") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: cannot be read: larger than {MAX_BYTES:,} bytes", hint=hint)
    if wrong := _NOT_TEXT.search(text):
        line = text.count("\n", 0, wrong.start()) + 1
        raise UsageError(f"{path}:{line}: not YAML: control character U+{ord(wrong[0]):04X}", hint="delete it")
    return text


def _refuse(path: Path, mark: Any, message: str, hint: str = "") -> NoReturn:
    raise UsageError(f"{path}:{mark.line + 1 if mark else 1}: {message}", hint=hint) from None


def _require_shallow(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                _refuse(path, event.start_mark, f"nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Loader(yaml.CSafeLoader):
    """The safe loader; a value that does not fit its type (the date 2001-13-45) is an error with a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError):
            kind = node.tag.rpartition(":")[2]
            problem = f"{printable(node.value, 40)!r} is not a valid {kind}; text needs quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


class _TextLoader(yaml.CBaseLoader):
    """Makes texts of all values."""


class _Checker:
    """Checks keys, and the size of each node with its aliases expanded; an aliased node is visited once."""

    def __init__(self, path: Path, loader: _Loader | _TextLoader) -> None:
        self._path = path
        self._loader = loader
        self._measured: dict[int, tuple[int, int] | None] = {}

    def measure(self, node: yaml.Node) -> tuple[int, int]:
        """Returns characters and depth. Raises UsageError."""
        if id(node) in self._measured:
            known = self._measured[id(node)]
            if known is None:
                _refuse(self._path, node.start_mark, "the anchor here contains itself")
            return known
        self._measured[id(node)] = None
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            parts = [self.measure(part) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            parts = [self.measure(item) for item in node.value]
        else:
            parts = [(len(node.value), 0)]
        size, depth = 1 + sum(size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)
        if size > MAX_EXPANDED:
            _refuse(self._path, node.start_mark, f"its aliases make more than {MAX_EXPANDED:,} characters")
        if depth > MAX_DEPTH:
            _refuse(self._path, node.start_mark, f"its aliases nest more than {MAX_DEPTH} levels deep")
        self._measured[id(node)] = size, depth
        return size, depth

    def _check_keys(self, node: yaml.MappingNode) -> None:
        keys: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                template = isinstance(key, yaml.MappingNode) and node.flow_style
                message = "a value that begins with {{ needs quotes" if template else "a key must be text"
                _refuse(self._path, key.start_mark, message, 'write "{{ … }}"' if template else "")
            value = key.value if key.tag.endswith(":merge") else self._loader.construct_object(key)
            if keys & {key.value, value}:
                _refuse(self._path, key.start_mark, f"duplicate key '{printable(key.value, 80)}'")
            keys |= {key.value, value}


def line_of(path: Path, keys: tuple[str | int, ...]) -> int:
    """Returns the line (from 1) on which the value at `keys` begins, or that of its nearest existing parent."""
    node: yaml.Node | None = yaml.compose(_read_text(path), Loader=yaml.CSafeLoader)
    line = 1
    for wanted in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == str(wanted):
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line


def mapping_at(path: Path, keys: tuple[str, ...], value: Any, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns `value`, which is at `keys` of the file, as a mapping; an absent value is an empty one.

    Raises UsageError with file and line for another type, for a key that is not text, and for a key outside `known`
    (empty: any key).
    """
    where = ".".join(keys) or "the file"
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}:{line_of(path, keys)}: {where} must be a mapping")
    for key in value:
        line = f"{path}:{line_of(path, (*keys, key))}"
        if not isinstance(key, str):
            raise UsageError(f"{line}: the key '{printable(key, 80)}' in {where} is not text", hint="put it in quotes")
        if known and key not in known:
            raise UsageError(f"{line}: unknown key '{printable(key, 80)}' in {where}", hint=nearest(key, known))
    return value
