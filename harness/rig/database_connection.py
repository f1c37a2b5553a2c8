"""A connection to a rig's database whose every wait has a deadline, also when the host is paused or unreachable."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen

RV = TypeVar("RV")
ANSWER_S = 60.0
"""Longest wait for the result of one statement."""
GRACE_S = 5.0
"""The server cancels a statement at its own limit; a server that does not even do that is given up after this time."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that is closed where the server gives no response within `limit_s`, or on Ctrl-C.

    TCP's own time-outs cannot see a dead host: the connection ends on this machine, at an SSH tunnel.
    """

    limit_s: float = ANSWER_S

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Waits for the server. Raises OperationalError at the limit."""
        limit_s = self.limit_s if timeout is None else timeout
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=interval, timeout=limit_s)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  # its base class also means a lost connection
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server gave no response within {limit_s:g} s") from None
        except KeyboardInterrupt:  # psycopg would ask the server to cancel, and wait for that
            self.pgconn.finish()
            raise


def options(limit_s: float) -> dict[str, Any]:
    """Returns libpq's options for a connection of the harness: limits for statements, and signs of life.

    Options that the environment could set otherwise (PGSSLMODE, PGTARGETSESSIONATTRS, …) are for the user's databases.
    """
    return {
        "application_name": "pgcrucible",
        "client_encoding": "UTF8",
        "channel_binding": "prefer",
        "gssencmode": "disable",
        "sslmode": "prefer",
        "target_session_attrs": "any",
        "options": f"-c statement_timeout={round(limit_s * 1000)}",
        "tcp_user_timeout": round((limit_s + GRACE_S) * 1000),
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
