"""Ansible filter: converts a password to the SCRAM secret that PostgreSQL stores, so the password stays here."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

ITERATIONS = 4096
"""PostgreSQL's default of scram_iterations."""


def scram_sha_256(password: str, role: str) -> str:
    """Returns the SCRAM-SHA-256 secret for `ALTER ROLE … PASSWORD` (RFC 5803, PostgreSQL: pg_authid.rolpassword).

    The salt is derived from role and password by the same costly function, not random: a second run gives the same
    secret and changes nothing. The salt is no more useful to an attacker than one SCRAM exchange.
    """
    key = password.encode("ascii")
    salt = hashlib.pbkdf2_hmac("sha256", key, b"pgcrucible salt for " + role.encode(), ITERATIONS, 16)
    salted = hashlib.pbkdf2_hmac("sha256", key, salt, ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encode: Callable[[bytes], str] = lambda raw: base64.b64encode(raw).decode()  # noqa: E731
    return f"SCRAM-SHA-256${ITERATIONS}:{encode(salt)}${encode(stored_key)}:{encode(server_key)}"


class FilterModule:
    """Ansible finds the filter by this name."""

    def filters(self) -> dict[str, Callable[[str, str], str]]:
        return {"scram_sha_256": scram_sha_256}
