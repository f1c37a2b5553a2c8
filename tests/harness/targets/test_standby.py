"""A real hot standby as the oracle's database: it may be behind, so it is refused; once promoted, it is another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import psycopg.conninfo
import pytest

from harness.errors import UsageError
from harness.targets.counter_source import DatabaseCounters
from harness.targets.url import locate
from harness.targets.url_target import UrlTarget
from tests.support.local_target import serving
from tests.support.postgres_server import PASSWORD, Database, Server, free_port


class Standby:
    """Follows `server` by streaming replication, on this machine."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._data = server, folder / "data"
        self.port = free_port()
        shutil.chown(folder, *((server._user["user"], server._user["group"]) if server._user else (os.geteuid(), None)))
        where = ("-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres")
        self._run("pg_basebackup", *where, "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast")
        with (self._data / "postgresql.conf").open("a", encoding="ascii") as conf:
            conf.write(f"port = {self.port}\nhot_standby = on\n")
        self._run("pg_ctl", "-w", "-l", str(folder / "log"), "start")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._server._bin / program), "-D", str(self._data), *arguments],
            env={**os.environ, "PGPASSWORD": PASSWORD}, cwd=self._data.parent, timeout=60, check=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            **self._server._user,  # type: ignore[call-overload]
        )  # fmt: skip

    def dsn(self, database: Database) -> str:
        """Returns the connection string of a database as it is here."""
        return psycopg.conninfo.make_conninfo(database.dsn, port=self.port)

    def promote(self) -> None:
        """Makes it a server of its own."""
        self._run("pg_ctl", "-w", "promote")

    def stop(self) -> None:
        """Ends it at once."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture
def standby(server: Server) -> Iterator[Standby]:
    folder = Path(tempfile.mkdtemp(prefix="pgcrucible-standby-"))
    try:
        made = Standby(server, folder)
        yield made
        made.stop()
    finally:
        shutil.rmtree(folder)


def test_a_hot_standby_is_refused_until_it_is_promoted_and_then_by_its_data(
    database: Database, standby: Standby, tmp_path: Path
) -> None:
    dsn = standby.dsn(database)
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
        assert connection.execute("SELECT count(*) FROM counters").fetchone() == (0,), "it answers like the primary"
    with pytest.raises(UsageError, match="the server is a standby") as refused:
        DatabaseCounters(dsn, lambda _: None)
    assert "give the primary" in refused.value.hint
    standby.promote()
    with (
        serving(database.environ, tmp_path / "log") as url,
        UrlTarget(locate(url), dsn, tag="t") as target,
        pytest.raises(UsageError, match="in the database of --dsn is None"),
    ):
        target.preflight()
    with serving(database.environ, tmp_path / "log") as url, UrlTarget(locate(url), database.dsn, tag="u") as target:
        target.preflight()
