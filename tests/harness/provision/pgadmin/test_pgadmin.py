"""The real pgAdmin on the tests' PostgreSQL: its login page in a browser, its server that opens without typing.

The first run installs it into .cache/.
"""

from __future__ import annotations

import http.cookiejar
import json
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.provision.pgadmin import packages, server
from harness.provision.pgadmin.files import LOGIN
from harness.provision.pgadmin.server import PgAdmin
from tests.conftest import NUMBERS
from tests.support.browser import Browser, browser
from tests.support.pgadmin import SSH, paper_rig, quiet
from tests.support.postgres_server import APP_USER, PASSWORD, Server, fresh_database

pytestmark = pytest.mark.slow
SHOWN_S = 60.0


@pytest.fixture(scope="module")
def running(server_of_tests: tuple[Server, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgAdmin]:
    """A pgAdmin of a rig whose database is one of the tests' server."""
    postgres, database = server_of_tests
    variables = {
        "postgres_port": postgres.port, "postgres_database": database, "postgres_harness_user": APP_USER,
        "harness_password": PASSWORD,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("pgadmin")
    with paper_rig(folder, SSH.format(python=sys.executable), **variables) as (name, _):
        yield server.start(name, port=None, echo=quiet)


@pytest.fixture(scope="module")
def server_of_tests(server: Server) -> Iterator[tuple[Server, str]]:
    """The tests' server and a database of it."""
    with fresh_database(server, f"pgadmin_{next(NUMBERS)}") as made:
        yield server, made.name


class Client:
    """A client of pgAdmin's own interface."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), cookies)
        self._token = ""

    def page(self, path: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """The address that was answered in the end, and the text."""
        data = urllib.parse.urlencode(form).encode() if form else None
        with self._opener.open(self.url + path, data, timeout=SHOWN_S) as response:
            return response.geturl(), response.read().decode()

    def log_in(self, password: str) -> str:
        """Returns the path of the page that follows the login."""
        token = self.token("/login", r'"csrfToken": "([^"]+)"')
        form = {"email": LOGIN, "password": password, "csrf_token": token, "internal_button": "Login"}
        return self.page("/authenticate/login", form)[0].removeprefix(self.url)

    def token(self, path: str, pattern: str) -> str:
        found = re.search(pattern, self.page(path)[1])
        assert found
        return found[1]

    def call(self, path: str, data: dict[str, Any] | None = None) -> Any:
        self._token = self._token or self.token("/browser/js/utils.js", r"csrf_token'\]\s*=\s*'([^']+)'")
        request = urllib.request.Request(
            self.url + path,
            None if data is None else json.dumps(data).encode(),
            {"X-pgA-CSRFToken": self._token, "Content-Type": "application/json"},
        )
        with self._opener.open(request, timeout=SHOWN_S) as response:
            return json.loads(response.read())


def test_the_rigs_database_opens_without_typing(running: PgAdmin, server_of_tests: tuple[Server, str]) -> None:
    client = Client(running.url)
    assert client.log_in(running.password) == "/browser/"
    (entry,) = client.call("/browser/server/nodes/1/")["result"]
    assert entry["label"].startswith("rig t-")
    connected = client.call(f"/browser/server/connect/1/{entry['_id']}", {})
    assert connected["info"] == "Server connected."
    (database,) = client.call(f"/browser/database/nodes/1/{entry['_id']}/")["data"]
    assert (database["label"], database["connected"]) == (server_of_tests[1], True)
    assert running.problem == ""


def test_another_password_is_refused(running: PgAdmin) -> None:
    client = Client(running.url)
    assert client.log_in(f"{running.password}x") == "/login"
    assert client.page("/browser/")[0].startswith(f"{running.url}login")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


def test_the_login_page_answers_in_a_browser_and_asks_no_other_host(chromium: Browser, running: PgAdmin) -> None:
    chromium.open(running.url)
    deadline = time.monotonic() + SHOWN_S
    while chromium.evaluate("document.querySelectorAll('input[name=email], input[name=password]').length") != 2:
        assert time.monotonic() < deadline, "the form did not appear"
        time.sleep(0.1)
    assert chromium.evaluate("location.pathname") == "/login"
    assert "Login" in chromium.evaluate("document.body.innerText")
    asked = [url for url in chromium.requests if not url.startswith("data:")]
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith(running.url)] == []
    assert [error for error in chromium.errors if not error.startswith("verbose: ")] == []


def test_only_the_loopback_is_listened_on(running: PgAdmin) -> None:
    port = int(running.url.rstrip("/").rpartition(":")[2])
    listening = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        rows = [line.split() for line in table.read_text().splitlines()[1:]] if table.exists() else []
        listening |= {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    assert listening == {socket.inet_aton("127.0.0.1")[::-1].hex().upper()}


def test_another_name_of_this_machine_is_refused(running: PgAdmin) -> None:
    """A page of another host could otherwise reach pgAdmin by a name that it resolves to the loopback."""
    request = urllib.request.Request(f"{running.url}login", headers={"Host": "attacker.example"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(request, timeout=SHOWN_S)
    refused.value.close()
    assert 400 <= refused.value.code < 500


def test_what_it_writes_is_in_its_folder(running: PgAdmin) -> None:
    folder = running.password_file.parent
    assert (folder / "data/pgadmin4.db").exists()
    assert (folder / "data/sessions").is_dir()
    assert not list(packages.code(packages.environment()).glob("config_local*"))
