"""The backends, which store counters and records. A new backend is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable

from app.backends.base import Backend
from app.backends.postgres import PostgresBackend
from app.backends.sqlite import SqliteBackend
from app.settings import Settings

BACKENDS: dict[str, Callable[[Settings], Backend]] = {
    "postgres": PostgresBackend,
    "sqlite-naive": SqliteBackend,
    "sqlite-tuned": SqliteBackend,
}
