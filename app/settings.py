"""The settings of the service: environment variables, each with a default, a range and a help line.

The variable's name is the field's name in capitals. `repr` and `public()` omit secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


class SettingsError(ValueError):
    """A variable has an invalid value; the message has the variable, the value and what is expected."""


def _setting(
    default: str | float,
    help_line: str,
    *,
    least: float | None = None,
    most: float | None = None,
    pattern: str | None = None,
    secret: bool = False,
) -> Any:
    limits = {"help": help_line, "least": least, "most": most, "pattern": pattern, "secret": secret}
    return field(default=default, metadata=limits, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The unit is the last word of a name; `0` disables a time-out only where the help line states it."""

    container_id: str = _setting("app-1", "name of this instance, in every response", pattern=r"[A-Za-z0-9._-]{1,50}")
    host: str = _setting("0.0.0.0", "address to listen on")  # noqa: S104 -- the rig's network is private
    port: int = _setting(3001, "TCP port to listen on; 0 selects a free one", least=0, most=65535)
    backlog: int = _setting(4096, "listen backlog: connections that wait to be accepted", least=1)
    backend: str = _setting(
        "postgres",
        "postgres, sqlite-naive or sqlite-tuned",
        pattern="postgres|sqlite-naive|sqlite-tuned",
    )
    workers: int = _setting(1, "service processes on this host; only reported in /metrics", least=1)

    postgres_host: str = _setting("127.0.0.1", "database host")
    postgres_port: int = _setting(5432, "database port", least=1, most=65535)
    postgres_db: str = _setting("appdb", "database name")
    postgres_user: str = _setting("appuser", "role to log in as; a member of crucible_app")
    postgres_password: str = _setting("", "password of POSTGRES_USER", secret=True)
    postgres_password_file: str = _setting("", "file with the password in its first line, instead of POSTGRES_PASSWORD")
    postgres_sslmode: str = _setting(
        "prefer",
        "libpq's sslmode; verify-full with `tls: true`",
        pattern="disable|allow|prefer|require|verify-ca|verify-full",
    )
    postgres_sslrootcert: str = _setting("", "file of the trusted certificate authority, for verify-*")
    prepare: int = _setting(
        1, "1: prepare statements and set the time-outs at login; 0: neither, for PgBouncer", least=0, most=1
    )

    pool_size: int = _setting(5, "maximum number of database connections of this process", least=1, most=1000)
    pool_min: int = _setting(
        0, "PostgreSQL connections opened at start-up and kept open, at most POOL_SIZE", least=0, most=1000
    )
    pool_idle_seconds: float = _setting(30, "idle time after which a connection beyond POOL_MIN is closed", least=0.1)
    pool_timeout_seconds: int = _setting(2, "time-out of one attempt to connect (libpq: 2 or more)", least=2)
    pool_wait_seconds: float = _setting(
        # Longer than the connect time-out: 1,000 requests at once over 4 hosts with 5 connections each wait longer
        # than 2 s on a small machine, and all of them must succeed.
        25,
        "maximum wait for a free connection, then 503; at most REQUEST_SECONDS",
        least=0.1,
    )
    request_seconds: float = _setting(
        # Below the 30 s after which the load generator gives up, with GRACE_SECONDS and a second to spare.
        25,
        "limit of a request in the backend, without the time that /api/transaction is asked to hold; then 503",
        least=0.1,
    )
    pool_max_waiting: int = _setting(10_000, "requests that may wait for a connection; more get 503", least=1)
    statement_timeout_ms: int = _setting(
        60_000, "limit of one statement, unless the role's is shorter; 0 sets none", least=0
    )
    idle_transaction_ms: int = _setting(
        # A service that stops in a transaction keeps its row locks, and all other hosts wait for them.
        5_000,
        "limit of a transaction between two statements, unless the role's is shorter; 0 sets none",
        least=0,
    )
    lock_timeout_ms: int = _setting(
        20_000, "limit of one wait for a lock, unless the role's is shorter; 0 sets none", least=0
    )
    retry_limit: int = _setting(100, "retries of a transaction that loses a conflict, then 409", least=0)
    coalesce_max_batch: int = _setting(1000, "maximum number of increments in one statement", least=1)
    coalesce_max_queue: int = _setting(10_000, "increments that may wait for a batch; more get 503", least=1)
    coalesce_batches: int = _setting(2, "batches in flight at once", least=1)

    sqlite_path: str = _setting("crucible.sqlite", "file of the SQLite backends, on a local filesystem")

    max_body_bytes: int = _setting(1024 * 1024, "maximum size of a request body; more is 413", least=1024)
    head_seconds: float = _setting(10, "time-out for a complete request header, from its first byte", least=0.1)
    body_seconds: float = _setting(10, "time-out for a complete request body, else 408", least=0.1)
    # Longer than HAProxy's 60 s: HAProxy closes first, so no request is sent on a connection that closes here.
    keepalive_seconds: float = _setting(75, "idle time after which an HTTP connection is closed", least=0.1)
    drain_seconds: float = _setting(
        3, "longest time after SIGTERM to serve on, until the load balancer has noticed; 0 closes at once", least=0
    )
    shutdown_seconds: float = _setting(30, "time for requests in flight after the drain", least=0.1)
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", pattern="DEBUG|INFO|WARNING|ERROR")
    code_hash: str = _setting("", "hash of the deployed code; only reported in /metrics")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Returns the settings, with defaults for unset variables; ignores unknown ones. Raises `SettingsError`."""
        values: dict[str, Any] = {}
        for item in fields(cls):
            name = item.name.upper()
            if name in environ:
                values[item.name] = _parse(name, environ[name], str(item.type), item.metadata)
        path = values.get("postgres_password_file")
        if path:
            if values.get("postgres_password"):
                raise SettingsError("set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, not both")
            try:
                first, *_ = Path(path).read_text(encoding="utf-8").splitlines() or [""]
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"POSTGRES_PASSWORD_FILE cannot be read: {error}") from None
            values["postgres_password"] = first
        settings = cls(**values)
        if settings.pool_min > settings.pool_size:
            raise SettingsError(f"POOL_MIN={settings.pool_min}: expected at most POOL_SIZE, {settings.pool_size}")
        return settings

    def public(self) -> dict[str, str | float]:
        """Returns all settings but the secrets, for /metrics and the start-up log line."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.repr}


def _parse(name: str, text: str, kind: str, limits: Mapping[str, Any]) -> str | float:
    if kind == "str":
        if limits["pattern"] and not re.fullmatch(limits["pattern"], text):
            raise SettingsError(f"{name}={text!r}: expected {limits['help']}")
        return text
    try:
        number = float(text) if kind == "float" else int(text)
    except ValueError:
        raise SettingsError(f"{name}={text!r}: expected a number, {limits['help']}") from None
    least, most = limits["least"], limits["most"]
    if not (least is None or number >= least) or not (most is None or number <= most):
        raise SettingsError(f"{name}={text}: expected {least} or more{f', at most {most}' if most else ''}")
    return number
