"""URLs and their addresses: what is accepted, where load may go, and TLS to an address that was looked up before."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RigError, UsageError
from harness.targets.service_client import ServiceClient
from harness.targets.url import Address, is_ours, locate, normal


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"host": self.headers["Host"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


def get(address: Address) -> tuple[int, object]:
    with ServiceClient(address) as client:
        response = client.get("/")
    return response.status, response.data


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and self-signed certificate of `crucible.test` in one file."""
    path = tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=crucible.test", "-addext", "subjectAltName=DNS:crucible.test"]
    subprocess.run([*command, "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    """A TLS server on loopback."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://127.0.0.1", "not http or https"),
        ("127.0.0.1:80", "not http or https"),
        ("http://", "not http or https"),
        ("http://127.0.0.1:0", "not http or https"),
        ("http://127.0.0.1:99999", "valid host and port"),
        ("http://127.0.0.1/v1", "a path is not supported"),
        ("http://127.0.0.1/?a=b", "a path is not supported"),
        ("http://a b:80", "not http or https"),
        ("http://user:secret@127.0.0.1", "credentials in the URL are not supported"),
    ],
)
def test_an_invalid_url_is_refused(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as error:
        locate(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "form"),
    [
        ("::ffff:198.18.0.3", "198.18.0.3"),
        ("::FFFF:c612:3", "198.18.0.3"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("198.18.0.3", "198.18.0.3"),
        ("app-1.example", "app-1.example"),
    ],
)
def test_an_address_is_compared_in_one_form(address: str, form: str) -> None:
    assert normal(address) == form


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_ours(ip: str) -> None:
    assert is_ours(ip, ())


@pytest.mark.parametrize(
    "ip",
    [
        "192.0.2.7",
        "10.0.0.1",
        "0.0.0.0",
        "198.18.3.4",
        "198.19.255.254",
        "198.20.0.1",
        "::ffff:198.18.0.1",
        "::ffff:192.0.2.7",
        "2001:db8::1",
        "",
        "localhost",
    ],
)
def test_other_addresses_are_not_ours_unless_a_rig_has_them(ip: str) -> None:
    assert not is_ours(ip, ())
    assert is_ours("192.0.2.7", {"192.0.2.7"})
    assert is_ours("::ffff:198.18.3.4", {"198.18.3.4"})


def test_the_certificate_must_be_trusted_and_match_the_host_name(
    certificate: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Address(host="crucible.test", port=port, tls=True, ip="127.0.0.1")  # the name has no DNS entry
    with pytest.raises(RigError, match=r"cannot be reached: .*self-signed"):
        get(named)
    given = Address(host="crucible.test", port=port, tls=True, ip="127.0.0.1", ca=f"{certificate}.crt")
    assert get(given) == (200, {"host": f"crucible.test:{port}"})
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    assert get(named) == (200, {"host": f"crucible.test:{port}"})
    other = Address(host="localhost", port=port, tls=True, ip="127.0.0.1")
    with pytest.raises(RigError, match=r"cannot be reached: .*localhost"):
        get(other)
