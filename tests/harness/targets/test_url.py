"""The pinned address: over TLS the certificate must be the name's, whatever the name leads to now."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.targets.url import Address, ask


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"host": self.headers["Host"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


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
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_the_certificate_must_be_trusted_and_be_the_names(
    certificate: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = Address(host="crucible.test", port=port, tls=True, ip="127.0.0.1")  # a name that no resolver knows
    with pytest.raises(RigError, match=r"cannot be reached: .*self-signed"):
        ask(named, "GET", "/")
    given = Address(host="crucible.test", port=port, tls=True, ip="127.0.0.1", ca=f"{certificate}.crt")
    assert ask(given, "GET", "/") == (200, {"host": f"crucible.test:{port}"})
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    assert ask(named, "GET", "/") == (200, {"host": f"crucible.test:{port}"})
    other = Address(host="localhost", port=port, tls=True, ip="127.0.0.1")
    with pytest.raises(RigError, match=r"cannot be reached: .*localhost"):
        ask(other, "GET", "/")
