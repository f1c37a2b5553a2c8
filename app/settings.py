"""What the service is told from outside: environment variables, each with a default, a range and a help line.

A field's name in capitals is the variable's name. Secrets never show in `repr` or in `public()`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names it, and what it may be."""


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
    """Units stand last in a name; `0` switches a time-out off only where the help line says so."""

    container_id: str = _setting("app-1", "name of this instance, in every answer", pattern=r"[A-Za-z0-9._-]{1,50}")
    host: str = _setting("0.0.0.0", "address to listen on")  # noqa: S104 -- its network is the rig's own
    port: int = _setting(3001, "TCP port to listen on; 0 takes a free one", least=0, most=65535)
    backlog: int = _setting(4096, "connections the kernel keeps until they are accepted", least=1)
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
    postgres_password: str = _setting("", "that role's password", secret=True)
    postgres_password_file: str = _setting("", "file that holds the password instead (its first line)")
    postgres_sslmode: str = _setting(
        "prefer",
        "libpq's sslmode; verify-full with the TLS profile",
        pattern="disable|allow|prefer|require|verify-ca|verify-full",
    )
    postgres_sslrootcert: str = _setting("", "file of the certificate authority to trust, for verify-*")
    prepare: int = _setting(
        1, "1 prepares statements and sets the time-outs at login; 0 behind PgBouncer", least=0, most=1
    )

    pool_size: int = _setting(5, "most database connections of this process", least=1, most=1000)
    pool_min: int = _setting(
        0, "PostgreSQL connections opened at start-up and kept, at most POOL_SIZE", least=0, most=1000
    )
    pool_idle_seconds: float = _setting(30, "an unused connection beyond POOL_MIN is closed after this", least=0.1)
    pool_timeout_seconds: int = _setting(2, "time-out of one attempt to connect (libpq: 2 or more)", least=2)
    pool_wait_seconds: float = _setting(
        # Not the connect time-out: 1,000 requests at once over 4 hosts with 5 connections each stand in
        # line for longer than 2 s on a small machine, and all of them must succeed.
        30,
        "longest wait in line for a free connection, then 503",
        least=0.1,
    )
    pool_max_waiting: int = _setting(10_000, "requests that may stand in line, more get 503", least=1)
    statement_timeout_ms: int = _setting(60_000, "server-side limit of one statement; 0 is none", least=0)
    lock_timeout_ms: int = _setting(0, "server-side limit of one wait for a lock; 0 is none", least=0)
    retry_limit: int = _setting(100, "attempts after the first when a transaction loses a conflict, then 409", least=0)
    coalesce_max_batch: int = _setting(1000, "increments that share one statement at most", least=1)
    coalesce_max_queue: int = _setting(10_000, "increments that may wait for a batch, more get 503", least=1)
    coalesce_batches: int = _setting(2, "batches in flight at once", least=1)

    sqlite_path: str = _setting("crucible.sqlite", "file of the SQLite backends, on a local filesystem")

    max_body_bytes: int = _setting(1024 * 1024, "largest request body, more is 413", least=1024)
    head_seconds: float = _setting(10, "a request's head must be whole this long after its first byte", least=0.1)
    body_seconds: float = _setting(10, "a body must have arrived after this, else 408", least=0.1)
    # More than HAProxy's 60 s, so that HAProxy closes first and a request never meets a closing connection.
    keepalive_seconds: float = _setting(75, "a connection on which nothing is asked is closed after this", least=0.1)
    shutdown_seconds: float = _setting(30, "after SIGTERM, requests in flight get this long", least=0.1)
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR", pattern="DEBUG|INFO|WARNING|ERROR")
    code_hash: str = _setting("", "hash of the deployed code; only reported in /metrics")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read what is set, the rest by default. Raises `SettingsError`; ignores variables of others."""
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
        """All settings without the secrets, for /metrics and the start-up log line."""
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
