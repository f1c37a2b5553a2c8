"""The texts that pgAdmin and libpq read."""

from __future__ import annotations

import json
from pathlib import Path

from harness.provision.pgadmin import files


def settings(rig: str, folder: str = "/rigs/a b's") -> dict[str, object]:
    values: dict[str, object] = {}
    exec(files.settings(rig, Path(folder), 5050), values)
    return values


def test_pgadmin_listens_on_the_loopback_and_writes_into_its_folder_only() -> None:
    values = settings("paper")
    assert (values["DEFAULT_SERVER"], values["DEFAULT_SERVER_PORT"]) == ("127.0.0.1", 5050)
    assert values["DATA_DIR"] == "/rigs/a b's/data"
    assert values["SERVER_MODE"] is True
    assert values["ALLOWED_HOSTS"] == ["127.0.0.1", "localhost"]


def test_nothing_asks_another_host() -> None:
    values = settings("paper")
    for name in ("UPGRADE_CHECK_ENABLED", "SHOW_GRAVATAR_IMAGE", "LLM_ENABLED"):
        assert values[name] is False


def test_rigs_have_cookies_of_their_own() -> None:
    assert settings("a-1")["SESSION_COOKIE_NAME"] != settings("a-2")["SESSION_COOKIE_NAME"]


def test_the_server_names_a_service_and_no_password() -> None:
    (server,) = json.loads(files.servers("paper", database="crucible", user="harness"))["Servers"].values()
    assert (server["Service"], server["MaintenanceDB"], server["Username"]) == ("rig", "crucible", "harness")
    assert server["DBRestriction"] == "crucible"
    assert "password" not in str(server).lower()


def test_the_service_has_the_options_of_the_connection() -> None:
    assert files.service({"host": "db-1", "port": 5, "password": "a=b"}) == "[rig]\nhost=db-1\nport=5\npassword=a=b\n"
