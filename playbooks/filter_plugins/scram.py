"""Ansible filter: a password as PostgreSQL stores it, so that the password itself never reaches the server."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

ITERATIONS = 4096
"""PostgreSQL's own number (scram_iterations)."""


def scram_sha_256(password: str, role: str) -> str:
    """The SCRAM-SHA-256 secret for `ALTER ROLE … PASSWORD` (RFC 5803, PostgreSQL: pg_authid.rolpassword).

    The salt is not random but derived from role and password by the same costly function, so that a second
    run yields the same secret and changes nothing; knowing the salt helps no more than one SCRAM exchange.
    """
    key = password.encode("ascii")
    salt = hashlib.pbkdf2_hmac("sha256", key, b"pgcrucible salt for " + role.encode(), ITERATIONS, 16)
    salted = hashlib.pbkdf2_hmac("sha256", key, salt, ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encode: Callable[[bytes], str] = lambda raw: base64.b64encode(raw).decode()  # noqa: E731
    return f"SCRAM-SHA-256${ITERATIONS}:{encode(salt)}${encode(stored_key)}:{encode(server_key)}"


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[[str, str], str]]:
        return {"scram_sha_256": scram_sha_256}
