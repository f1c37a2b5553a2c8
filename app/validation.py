"""Validates requests: turns bytes into checked values, or raises the 4xx that names the fault.

Both backends can store every accepted value. The exception is a text of a bulk insert that is too long for the table:
there the database refuses it, which is a case to test.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from app.backends.base import LEVELS
from app.errors import ServiceError, bad_request, unprocessable

_KEY = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
_TEXT = re.compile(r"[^\x00\ud800-\udfff]*")
_ENTRY_ID = re.compile(r"[\x21-\x7e]{1,200}")
MAX_BULK_ROWS = 100_000
MAX_KEYS = 16
MAX_HOLD_MS = 60_000


async def read_json(request: web.Request, *, most_bytes: int, seconds: float) -> dict[str, Any]:
    """Returns the body as a JSON object. Raises 400, 408, 413 or 415."""
    codings = ",".join(request.headers.getall("Content-Encoding", []))
    if any(coding.strip().lower() not in ("", "identity") for coding in codings.split(",")):
        # A limit of the size after decompression would come too late: the CPU time is spent by then.
        raise ServiceError(
            415, "ENCODED_BODY", "a compressed body is not accepted", headers={"Accept-Encoding": "identity"}
        )
    too_large = ServiceError(413, "BODY_TOO_LARGE", f"the body is larger than {most_bytes} bytes")
    if (request.content_length or 0) > most_bytes:
        raise too_large
    try:
        if request.content.is_eof():  # all bytes have arrived: no timer needed
            body = await request.read()
        else:
            body = await asyncio.wait_for(request.read(), seconds)
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except asyncio.TimeoutError:  # noqa: UP041 -- two classes before 3.11
        raise ServiceError(408, "BODY_TOO_SLOW", f"the body did not arrive in {seconds:g} s") from None
    except (web.RequestPayloadError, OSError):
        raise bad_request("BAD_BODY", "the body is broken or incomplete") from None
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        raise bad_request("BAD_JSON", "the body is not JSON in UTF-8") from None
    if type(document) is not dict:
        raise bad_request("BAD_JSON", "the body must be a JSON object")
    return document


def counter_key(value: object) -> str:
    """Returns a valid key: 1 to 255 characters, no control characters."""
    if type(value) is not str:
        raise bad_request("BAD_KEY", "`key` must be a string")
    if not _KEY.fullmatch(value):
        raise bad_request("BAD_KEY", "`key` must have 1 to 255 characters, none of them a control character")
    return value


def entry_id(header: str | None) -> str | None:
    """Returns a valid Idempotency-Key: 1 to 200 visible ASCII characters, or None."""
    if header is not None and not _ENTRY_ID.fullmatch(header):
        raise bad_request("BAD_IDEMPOTENCY_KEY", "Idempotency-Key must be 1 to 200 visible ASCII characters")
    return header


def strategy(value: object, offered: tuple[str, ...]) -> str:
    """Returns one of the backend's strategies, by default the first."""
    if value is None:
        return offered[0]
    if type(value) is not str:
        raise bad_request("BAD_STRATEGY", "`strategy` must be a string")
    if value not in offered:
        raise unprocessable("STRATEGY_NOT_OFFERED", f"`strategy` must be one of: {', '.join(offered)}")
    return value


def level(value: object) -> str:
    """Returns one of the standard's four levels, in capitals; no other text reaches SQL."""
    if type(value) is not str or value not in LEVELS:
        raise bad_request("BAD_LEVEL", f"`level` must be one of: {', '.join(LEVELS)}")
    return value


def rows(value: object) -> list[str]:
    """Returns the texts of a bulk insert."""
    if type(value) is not list or not all(type(row) is str for row in value):
        raise bad_request("BAD_DATA", "`data` must be an array of strings")
    if not 1 <= len(value) <= MAX_BULK_ROWS:
        raise bad_request("BAD_DATA", f"`data` must have 1 to {MAX_BULK_ROWS} strings")
    if not all(map(_TEXT.fullmatch, value)):
        raise bad_request("BAD_DATA", "no string of `data` may contain U+0000 or a lone surrogate")
    return value


def flag(values: list[str]) -> bool:
    """Returns a query parameter that must be given once, as 0 or 1."""
    if values not in (["0"], ["1"]):
        raise bad_request("BAD_PARAMETER", "`database` must be given once, as 0 or 1")
    return values == ["1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A checked body of POST /api/transaction."""

    keys: list[str]
    hold_ms: float
    retry: bool


def hold(document: dict[str, Any]) -> Hold:
    """Returns a valid body: `key` or `keys` (which may be empty), `hold_ms` (default 0) and `retry` (default false)."""
    if ("key" in document) == ("keys" in document):
        raise bad_request("BAD_KEY", "give either `key` or `keys`")
    names = document["keys"] if "keys" in document else [document["key"]]
    if type(names) is not list or len(names) > MAX_KEYS:
        raise bad_request("BAD_KEY", f"`keys` must be an array of at most {MAX_KEYS} keys")
    keys = [counter_key(name) for name in names]
    if len(set(keys)) != len(keys):
        raise bad_request("BAD_KEY", "`keys` must not contain a key twice")
    hold_ms = document.get("hold_ms", 0)
    if type(hold_ms) not in (int, float) or not 0 <= hold_ms <= MAX_HOLD_MS:
        raise bad_request("BAD_HOLD", f"`hold_ms` must be a number from 0 to {MAX_HOLD_MS}")
    retry = document.get("retry", False)
    if type(retry) is not bool:
        raise bad_request("BAD_RETRY", "`retry` must be true or false")
    return Hold(keys=keys, hold_ms=hold_ms, retry=retry)
