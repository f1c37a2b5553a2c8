"""Makes the rig's certificate authority and the certificates of its servers (`tls: true`).

The files are among the rig's other secrets and are removed with them. Nothing outside the rig trusts the authority.

.rigs/<name>/tls/ca.pem       certificate of the authority; every client of the rig trusts only this one
                 ca.key       its private key
                 <host>.pem   private key and certificate of a server, in one file
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.model import Host
from harness.rig import state
from harness.rig.state import write_private

SERVERS = ("db", "lb")
"""Roles that clients connect to."""
VALID = timedelta(days=365)
RENEW = timedelta(days=30)
"""The next provision replaces certificates that expire sooner than this."""
SKEW = timedelta(days=1)
"""How far a host's clock may be behind the controller's."""


def certify(rig: str, hosts: Iterable[Host]) -> dict[str, object]:
    """Returns Ansible's variables: `tls_authority`, and `tls_certificates` by host name (PEM: key, certificate).

    Keeps existing files that match their host and do not expire soon.
    """
    folder = state.make_folder(rig) / "tls"
    folder.mkdir(mode=0o700, exist_ok=True)
    authority, signer = _authority(folder, rig)
    certificates = {h.name: _server(folder / f"{h.name}.pem", h, authority, signer) for h in hosts if h.role in SERVERS}
    return {"tls_authority": _pem(authority), "tls_certificates": certificates}


def _authority(folder: Path, rig: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    with contextlib.suppress(FileNotFoundError, ValueError):
        kept = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        if (
            isinstance(key, ec.EllipticCurvePrivateKey)
            and key.public_key() == kept.public_key()
            and _is_valid_long_enough(kept)
        ):
            return kept, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"pgcrucible rig {rig}")])
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(identity, critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / "ca.key", _pem(key))
    write_private(folder / "ca.pem", _pem(made))
    return made, key


def _server(path: Path, host: Host, authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey) -> str:
    names = x509.SubjectAlternativeName([_name(text) for text in dict.fromkeys((host.name, host.address))])
    with contextlib.suppress(FileNotFoundError, ValueError, InvalidSignature):
        text = path.read_text()
        kept = x509.load_pem_x509_certificate(text.encode())
        kept.verify_directly_issued_by(authority)
        kept_names = kept.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        private = serialization.load_pem_private_key(text.encode(), None)
        if kept_names == names and private.public_key() == kept.public_key() and _is_valid_long_enough(kept):
            return text
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host.name)])
    made = (
        _builder(subject, authority.subject, key)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = _pem(key) + _pem(made)
    write_private(path, pem)
    return pem


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, crl_sign=False, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _is_valid_long_enough(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc > datetime.now(UTC) + RENEW


def _pem(item: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
    """Returns PEM text; a private key has no passphrase, because that would have to be stored beside it."""
    if isinstance(item, x509.Certificate):
        return item.public_bytes(serialization.Encoding.PEM).decode()
    return item.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
