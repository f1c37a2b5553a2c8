"""The templates, rendered by Ansible for two app hosts, with default and unusual variables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from .conftest import ROLES, Render

CFG, HBA = "haproxy/templates/haproxy.cfg.j2", "postgres/templates/pg_hba.conf.j2"
CONF, SQL = "postgres/templates/postgresql.conf.j2", "postgres/templates/database.sql.j2"
UNIT, TARGET = "app/templates/pgcrucible-app@.service.j2", "app/templates/pgcrucible-app.target.j2"
ENV, VERIFY = "app/templates/app.env.j2", "postgres/templates/verify.sql.j2"


def sections(text: str) -> dict[str, list[str]]:
    """HAProxy's configuration by section."""
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        if re.match(r"\w", line):
            lines[line] = []
        elif line.strip() and not line.strip().startswith("#"):
            lines[list(lines)[-1]].append(line.strip())
    return lines


def test_haproxy_routes_to_every_app_host_and_retries_no_request(render: Render) -> None:
    config = sections(render("lb-1", [CFG])[CFG])
    servers = ["server app-1 192.0.2.11:3001 maxconn 256", "server app-2 192.0.2.12:3001 maxconn 256"]
    assert [line for line in config["backend app"] if line.startswith("server ")] == servers
    for number in (1, 2):
        own = config[f"backend app-{number}"]
        assert [line for line in own if line.startswith("server ")] == [servers[number - 1]]
        assert f"http-request replace-path ^/app-{number}(/.*)$ \\1" in own
        route = f"use_backend app-{number} if {{ path_beg /app-{number}/ }}"
        assert route in config["frontend public"]
    lines = [line for section in config.values() for line in section]
    assert [line for line in lines if line.startswith("retry-on")] == ["retry-on conn-failure"]
    assert [line for line in lines if line.startswith("http-reuse")] == ["http-reuse safe"]
    assert config["listen statistics"][0] == "bind 127.0.0.1:8404"
    assert [line for line in lines if line.startswith("bind ")] == ["bind :8080 backlog 16384", "bind 127.0.0.1:8404"]
    exporter = [name for name, section in config.items() if any("prometheus-exporter" in line for line in section)]
    assert exporter == ["listen statistics"], "on loopback alone"


def test_haproxys_own_responses_say_whether_a_worker_may_have_had_the_request(render: Render) -> None:
    lines = sections(render("lb-1", [CFG])[CFG])["defaults"]
    errors = [line.split(" ", 6) for line in lines if line.startswith("http-error ")]
    outcomes = {}
    for _, _, status, _, kind, _, rest in errors:
        assert kind == "application/json"
        body = json.loads(rest[1 : rest.rindex("'")])
        assert body.keys() == {"error", "code", "outcome", "container"}
        outcomes[int(status)] = body["outcome"]
    assert outcomes == {503: "aborted", 500: "unknown", 502: "unknown", 504: "unknown"}


def test_several_workers_are_several_servers(render: Render) -> None:
    texts = render("lb-1", [CFG, TARGET], app_workers=2)
    config = sections(texts[CFG])
    assert [line for line in config["backend app"] if line.startswith("server ")] == [
        "server app-1.1 192.0.2.11:3001 maxconn 256",
        "server app-1.2 192.0.2.11:3002 maxconn 256",
        "server app-2.1 192.0.2.12:3001 maxconn 256",
        "server app-2.2 192.0.2.12:3002 maxconn 256",
    ]
    assert re.findall(r"^Wants=(.*)$", texts[TARGET], re.MULTILINE) == [
        "pgcrucible-app@1.service",
        "pgcrucible-app@2.service",
    ]


def test_pg_hba_has_one_line_per_host_and_rejects_the_rest(render: Render) -> None:
    lines = [line.split() for line in render("db-1", [HBA])[HBA].splitlines() if not line.startswith("#")]
    assert lines == [
        ["local", "all", "postgres", "peer"],
        ["host", "crucible", "crucible_harness", "127.0.0.1/32", "scram-sha-256"],
        ["host", "crucible", "appuser", "192.0.2.11/32", "scram-sha-256"],
        ["host", "crucible", "appuser", "192.0.2.12/32", "scram-sha-256"],
        ["host", "crucible", "crucible_harness", "192.0.2.14/32", "scram-sha-256"],
        ["local", "all", "all", "reject"],
        ["host", "all", "all", "all", "reject"],
    ]


def test_with_tls_no_client_is_served_without_it(render: Render) -> None:
    wishes = {"postgres_extra_settings": {"ssl": "off"}, "postgres_settings_directory": "/pg"}
    tls = {"tls_authority": "the authority", "tls_certificates": {"db-1": "key and certificate"}}
    texts = render("db-1", [HBA, CONF, VERIFY, CFG, ENV], **wishes, **tls)
    comers = [line.split() for line in texts[HBA].splitlines() if "scram" in line]
    assert [line[0] for line in comers] == ["hostssl"] * 4
    settings = dict(line.split(" = ") for line in texts[CONF].splitlines() if " = " in line)
    assert settings["ssl"] == "'on'"
    assert settings["ssl_cert_file"] == settings["ssl_key_file"] == "'/pg/pgcrucible.pem'"
    assert settings["ssl_min_protocol_version"] == "'TLSv1.3'"
    assert "without TLS" in texts[VERIFY]
    public = sections(texts[CFG])["frontend public"]
    assert public[0] == "bind :8080 backlog 16384 ssl crt /etc/haproxy/pgcrucible.pem ssl-min-ver TLSv1.3"
    assert 'POSTGRES_SSLMODE="verify-full"' in texts[ENV]
    assert 'POSTGRES_SSLROOTCERT="/etc/pgcrucible/ca.pem"' in texts[ENV]


def test_an_ipv6_host_is_a_single_address(render: Render) -> None:
    text = render("db-1", [HBA], addresses="2001:db8::")[HBA]
    assert "2001:db8::11/128 scram-sha-256" in text
    assert text.count("/32 ") == 1  # the harness's tunnel


def test_extra_settings_override_defaults_and_quotes_survive(render: Render) -> None:
    wishes = {"shared_buffers": "1GB", "cluster_name": "it's ours"}
    conf = render("db-1", [CONF], postgres_extra_settings=wishes, postgres_port=5433)[CONF]
    assert "shared_buffers = '1GB'" in conf
    assert "256MB" not in conf
    assert "cluster_name = 'it''s ours'" in conf
    assert "port = 5433" in conf
    assert re.findall(r"^ssl.*$", conf, re.MULTILINE) == ["ssl = 'off'"]


def test_the_service_gets_the_password_and_the_database_only_a_secret(render: Render) -> None:
    texts = render("app-1", [ENV, SQL])
    assert 'POSTGRES_PASSWORD="pass\\"word"' in texts[ENV].splitlines()
    assert "harness-password" not in texts[ENV]
    assert 'POSTGRES_SSLMODE="disable"' in texts[ENV]
    assert not re.search(r'pass"word|harness-password', texts[SQL])
    assert texts[SQL].count("PASSWORD 'SCRAM-SHA-256$4096:") == 2


def test_sqlite_is_offered_only_with_a_shared_directory(render: Render) -> None:
    without = render("app-1", [ENV, UNIT])
    assert "SQLITE_PATH" not in without[ENV]
    assert "ReadWritePaths" not in without[UNIT]
    shared = render("app-1", [ENV, UNIT], app_sqlite_directory="/srv/shared", app_environment={"LOG_LEVEL": "DEBUG"})
    assert 'SQLITE_PATH="/srv/shared/crucible.db"' in shared[ENV]
    assert 'LOG_LEVEL="DEBUG"' in shared[ENV]
    assert "ReadWritePaths=/srv/shared" in shared[UNIT]


def test_the_environment_has_only_settings_of_the_service(render: Render) -> None:
    from dataclasses import fields

    from app.settings import Settings

    known = {field.name.upper() for field in fields(Settings)}
    named = re.findall(r"^(\w+)=", render("app-1", [ENV], app_sqlite_directory="/srv/shared")[ENV], re.MULTILINE)
    assert set(named) - known == set()
    assert {"CONTAINER_ID", "POOL_SIZE", "POSTGRES_HOST", "SQLITE_PATH"} <= set(named)


def test_the_sqlite_files_of_the_app_role_are_removed_with_their_companions(render: Render, tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROLES / "app/tasks/remove.yml").read_text(encoding="utf-8"))
    variables = next(task["vars"] for task in tasks if "vars" in task)
    template = tmp_path / "files.j2"
    template.write_text("{{ app_sqlite_files | to_json }}", encoding="utf-8")
    text = render("app-1", [str(template)], **variables, app_sqlite_directory="/srv/one")[str(template)]
    files = json.loads(text)
    assert len(files) == 16
    assert {"path": "/srv/one/crucible.db-wal", "state": "absent"} in files
    assert {"path": "/srv/one/isolation.sqlite", "state": "absent"} in files
