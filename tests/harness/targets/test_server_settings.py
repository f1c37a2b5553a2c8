"""Settings of a real server are put into force, read back and undone, as on the database host of a rig."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.errors import UsageError
from harness.plan.variants import parse_vary
from harness.rig.connection import Result
from harness.targets.rig_database import RigDatabase
from harness.targets.server_settings import FILE, ServerSettings
from tests.support.fake_rig import FakeHost, FakeRig
from tests.support.postgres_server import Server, running_server


class ServerHost(FakeHost):
    """A database host whose server is the one of this test; obeys the actions of the script."""

    def __init__(self, rig: ServerRig) -> None:
        super().__init__(rig, "db-1")
        self.server = rig.server
        self.file: Path = rig.server._data / FILE

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        action, name = command[-2:]
        assert (name, check) == (FILE, False)
        self.rig.actions.append(action)  # type: ignore[attr-defined]
        stdout, code, stderr = f"{self.file}\n", 0, ""
        if action == "read" and self.file.exists():
            stdout += self.file.read_text()
        elif action == "write":
            self.file.write_text(stdin)
            self.file.chmod(0o644)
            code, stderr = self._validate()
            if code:
                self.file.unlink()
        elif action == "remove":
            self.file.unlink(missing_ok=True)
        elif action == "reload":
            self.server._call("pg_ctl", "reload")
        elif action == "restart":
            code, stderr = self._restart()
        return Result(stdout=stdout, stderr=stderr, code=code)

    def _validate(self) -> tuple[int, str]:
        command = [str(self.server._bin / "postgres"), "-C", "max_connections", "-D", str(self.server._data)]
        done = subprocess.run(
            command, cwd="/", capture_output=True, text=True, check=False, timeout=60, **self.server._user
        )  # type: ignore[call-overload]
        return (9 if done.returncode else 0), done.stderr

    def _restart(self) -> tuple[int, str]:
        if (self.server._data / "postmaster.pid").exists():
            self.server.stop()
        try:
            self.server.start()
        except RuntimeError as error:
            return 9, str(error)
        return 0, ""


class ServerRig(FakeRig):
    def __init__(self, server: Server) -> None:
        super().__init__(dsn=server.dsn())
        self.server, self.actions = server, list[str]()

    def at(self, host: Any) -> Any:
        return ServerHost(self) if getattr(host, "name", host) == "db-1" else super().at(host)


@pytest.fixture(scope="module")
def own() -> Iterator[Server]:
    """A server of this module, which restarts it."""
    with running_server() as running:
        with (running._data / "postgresql.conf").open("a", encoding="ascii") as conf:
            conf.write(f"include_if_exists '{FILE}'\n")
        running._call("pg_ctl", "reload")
        yield running


@pytest.fixture
def rig(own: Server) -> Iterator[ServerRig]:
    made = ServerRig(own)
    yield made
    assert not (own._data / FILE).exists(), "the settings of a test were not removed"
    assert shown(own, "work_mem", "shared_buffers") == ["4MB", "64MB"]


@pytest.fixture
def settings(rig: ServerRig) -> Iterator[ServerSettings]:
    with RigDatabase(rig.database, "db-1") as database:
        yield ServerSettings(rig, database, timeout_s=30.0)


def shown(server: Server, *names: str) -> list[str]:
    """The settings as a new session of another client sees them."""
    with psycopg.connect(server.dsn()) as connection:
        return [str(connection.execute(f"SHOW {name}".encode()).fetchone()[0]) for name in names]  # type: ignore[index]


def test_a_setting_is_in_force_for_every_session_and_undone(
    own: Server, rig: ServerRig, settings: ServerSettings
) -> None:
    with psycopg.connect(own.dsn(), autocommit=True) as old:
        for value in ("1MB", "8MB", "8MB"):
            settings.configure({"work_mem": value})
            assert old.execute("SHOW work_mem").fetchone() == (value,), "a session of the service that is open"
            assert shown(own, "work_mem") == [value]
        settings.restore()
        assert old.execute("SHOW work_mem").fetchone() == ("4MB",)
    assert "restart" not in rig.actions
    rig.actions.clear()
    settings.restore()
    assert rig.actions == ["read"], "nothing to undo"


def test_a_setting_that_needs_a_restart_gets_one_only_when_it_changes(
    own: Server, rig: ServerRig, settings: ServerSettings
) -> None:
    for value, restarts in (("16MB", 1), ("16MB", 1), ("32MB", 2)):
        settings.configure({"Shared_Buffers": value, "DateStyle": "German, DMY"})
        assert shown(own, "shared_buffers", "datestyle") == [value, "German, DMY"]
        assert rig.actions.count("restart") == restarts
    assert settings.values(["Shared_Buffers", "work_mem"]) == {"Shared_Buffers": "40968kB", "work_mem": "4096kB"}
    settings.restore()
    assert rig.actions.count("restart") == 3


def test_what_a_killed_bench_left_is_undone_by_the_next(own: Server, settings: ServerSettings) -> None:
    """It was killed before the reload, before the restart, or with all in force."""
    for steps in (0, 1, 2):
        (own._data / FILE).write_text("work_mem = '1MB'\nshared_buffers = '16MB'\n")
        (own._data / FILE).chmod(0o644)
        if steps == 1:
            own._call("pg_ctl", "reload")
        elif steps == 2:
            own.stop()
            own.start()
        settings.restore()
        assert shown(own, "work_mem", "shared_buffers") == ["4MB", "64MB"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"synchronous_commit": "maybe"},
            'invalid value for parameter "synchronous_commit": "maybe"; Available values',
        ),
        ({"work_mem": "1"}, "1 kB is outside the valid range for parameter"),
        ({"work_mem": "-7"}, "outside the valid range"),
        ({"shared_buffers": "x'y\\z"}, 'invalid value for parameter "shared_buffers": "x\'y\\z"'),
        ({"work_mem": "1MB", "transaction_isolation": "serializable"}, "does not take transaction_isolation from"),
        ({"shared_preload_libraries": "no_such_library"}, "PostgreSQL refuses the settings of a variant"),
    ],
)
def test_a_value_that_the_server_refuses_leaves_it_as_it_was(
    own: Server, settings: ServerSettings, wanted: dict[str, str], message: str
) -> None:
    settings.configure({"work_mem": "8MB"})
    with pytest.raises(UsageError) as caught:
        settings.configure(wanted)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert shown(own, "work_mem", "synchronous_commit", "shared_buffers") == ["4MB", "on", "64MB"]


def test_a_setting_that_alter_system_has_set_is_not_taken_for_the_variants(
    own: Server, settings: ServerSettings
) -> None:
    with psycopg.connect(own.dsn(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET work_mem = '2MB'")
        try:
            with pytest.raises(UsageError, match=r"does not take work_mem from .*: it is 2048kB, from .*auto\.conf"):
                settings.configure({"work_mem": "8MB"})
        finally:
            admin.execute("ALTER SYSTEM RESET work_mem")
            settings.configure({"work_mem": "8MB"})  # and with it a reload
            settings.restore()


@pytest.mark.parametrize(
    ("key", "message", "hint"),
    [
        (
            "synchronous_comit",
            "PostgreSQL has no setting 'synchronous_comit'",
            "did you mean 'postgres.synchronous_commit'?",
        ),
        ("zzzzzzzz", "PostgreSQL has no setting 'zzzzzzzz'", "pg_settings"),
        ("port", "postgres.port cannot be varied", "depends on it"),
        ("server_version", "postgres.server_version cannot be varied", "the server fixes it"),
        ("lock_timeout", "postgres.lock_timeout cannot be varied: appuser has its own value", "inventory"),
    ],
)
def test_a_setting_that_cannot_be_varied_is_refused(
    own: Server, settings: ServerSettings, key: str, message: str, hint: str
) -> None:
    with psycopg.connect(own.dsn(), autocommit=True) as admin:
        admin.execute("ALTER ROLE appuser SET lock_timeout = '60s'")
    with pytest.raises(UsageError) as caught:
        settings.require_names(parse_vary("vary", f"postgres.{key}=1,2"))
    assert message in caught.value.message
    assert hint in caught.value.hint
