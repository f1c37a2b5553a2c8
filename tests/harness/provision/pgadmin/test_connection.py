"""The tunnel and the service: which ssh forwards what, and that TLS verifies the server's name."""

from __future__ import annotations

from pathlib import Path

from harness.model import Host
from harness.provision.pgadmin import connection, files
from harness.rig.rig import Rig
from tests.support.builders import rig_state

DB = Host(
    name="db-1", role="db", address="10.0.0.1", ssh_address="db.lan", ssh_port=2222, ssh_user="me", jump="gate.lan"
)


def rig(authority: Path | None = None) -> Rig:
    state = rig_state((DB,), variables={"postgres_port": 5433})
    return Rig(state=state, key=None, known_hosts=None, secrets={"harness_password": "secret"}, authority=authority)


def test_ssh_forwards_a_port_of_the_loopback_to_that_of_the_database() -> None:
    words = connection.tunnel(rig(), DB, 15432, Path("/log"))
    ssh = words[words.index("ssh") :]
    assert ssh[ssh.index("-L") + 1] == "127.0.0.1:15432:127.0.0.1:5433"
    assert {"-N", "ExitOnForwardFailure=yes", "BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(ssh)
    assert ssh[-2:] == ["--", "db.lan"]
    assert [word for word in ssh if word.startswith("ProxyCommand=")]
    assert not [word for word in words if "secret" in word]


def test_the_connection_is_that_of_the_harness_through_the_tunnel() -> None:
    options = connection.options(rig(), DB, 15432)
    assert (options["host"], options["port"], options["password"]) == ("127.0.0.1", 15432, "secret")
    assert options["user"] == "crucible_harness"
    assert "sslmode" not in options


def test_with_tls_the_name_of_the_server_is_verified() -> None:
    options = connection.options(rig(Path("/rigs/a b/ca.pem")), DB, 15432)
    assert (options["host"], options["hostaddr"], options["sslmode"]) == ("db-1", "127.0.0.1", "verify-full")
    assert options["sslrootcert"] == "/rigs/a b/ca.pem"


def test_a_service_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "pg_service.conf"
    assert connection.read_service(file) is None
    options = connection.options(rig(), DB, 15432)
    file.write_text(files.service(options))
    assert connection.read_service(file) == {name: str(value) for name, value in options.items()}
    file.write_text("[rig]\nhost\n")
    assert connection.read_service(file) is None
