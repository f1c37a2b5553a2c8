"""`python -m controls.pool_leak`: the service, but its pool never gives the slot of a broken connection back."""

from __future__ import annotations

import sys
from math import inf

from app.__main__ import main
from app.backends import postgres
from app.backends.pg_connection import PgConnection
from app.backends.pool import Pool


class LeakingPool(Pool):
    """A pool whose connections count as open after they broke: those of a full pool are all that it will ever have."""

    def _discard(self, connection: PgConnection) -> None:
        if self._closed or (connection.idle and connection.silent() and not connection.cancelled_at):
            super()._discard(connection)
            return
        connection.due = inf
        connection.close()


if __name__ == "__main__":
    postgres.Pool = LeakingPool  # type: ignore[attr-defined]  # the backend makes its pool by this name
    sys.exit(main())
