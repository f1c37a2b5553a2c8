"""The request of POST /api/txn: a transaction over lists, checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from app import validation
from app.errors import ServiceError, bad_request

Op = tuple[Any, ...]
"""("r", key), ("append", key, element) or ("transfer", from, to, amount)."""
Result = list[int] | None
"""Of a read: the list. Of a transfer: the two balances that it read. Of an append: None."""
MAX_OPS = 16
MAX_ELEMENTS = 10_000
OPENING_BALANCE = 100
"""Balance of an account whose list is empty. Else it is the last element."""
_LEAST, _MOST = -(2**63), 2**63 - 1
_FORMS: dict[str, tuple[Literal["key", "integer"], ...]] = {
    "r": ("key",),
    "append": ("key", "integer"),
    "transfer": ("key", "key", "integer"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTransaction:
    """A checked body: the isolation level, and 1 to MAX_OPS operations in order."""

    level: str
    ops: tuple[Op, ...]

    def digest(self) -> str:
        """Returns a text that identifies the request: what the ledger stores as its key."""
        text = json.dumps([self.level, self.ops], ensure_ascii=True, separators=(",", ":"))
        return f"txn:{hashlib.sha256(text.encode()).hexdigest()}"


def parse(document: dict[str, Any]) -> ListTransaction:
    """Returns a valid body. Raises 400."""
    ops = document.get("ops")
    if type(ops) is not list or not 1 <= len(ops) <= MAX_OPS:
        raise bad_request("BAD_OPS", f"`ops` must be an array of 1 to {MAX_OPS} operations")
    return ListTransaction(level=validation.level(document.get("level")), ops=tuple(_op(op) for op in ops))


def _op(value: object) -> Op:
    if type(value) is not list or not value or type(value[0]) is not str or value[0] not in _FORMS:
        raise _bad_op(f"an array that starts with {', '.join(_FORMS)}")
    name, *arguments = value
    form = _FORMS[name]
    if len(arguments) != len(form):
        raise _bad_op(f"{name} with {len(form)} arguments")
    pairs = zip(form, arguments, strict=True)
    op = (name, *(validation.counter_key(each) if kind == "key" else _integer(each) for kind, each in pairs))
    if name == "transfer" and op[-1] < 1:
        raise _bad_op("a transfer of 1 or more")
    return op


def _integer(value: object) -> int:
    """Returns an integer of 64 bits. JSON does not tell 1 from 1.0 (JSON Schema, "integer")."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not _LEAST <= value <= _MOST:
        raise _bad_op("an integer of 64 bits as the last argument")
    return value


def _bad_op(expected: str) -> ServiceError:
    return bad_request("BAD_OPS", f"an operation must be {expected}")
