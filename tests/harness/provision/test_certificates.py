"""A rig's certificates are made once, match their hosts, belong to one rig, and only their owner can read them."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from harness.model import Host, Role
from harness.provision import certificates
from harness.provision.certificates import certify
from harness.rig import state
from harness.rig.state import authority_file


@pytest.fixture(autouse=True)
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    return tmp_path / "rigs"


def host(role: Role, address: str = "198.18.0.20") -> Host:
    return Host(name=f"{role}-1", role=role, address=address, ssh_address="10.0.0.1")


HOSTS = [host("db"), host("lb", "198.18.0.10"), host("app", "198.18.0.101"), host("load", "198.18.0.31")]


def read(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def test_servers_have_certificates_with_their_names_and_addresses() -> None:
    made = certify("one", HOSTS)
    authority = read(made["tls_authority"])
    assert made["tls_authority"] == authority_file("one").read_text()
    assert list(made["tls_certificates"]) == ["db-1", "lb-1"]
    for name, address in (("db-1", "198.18.0.20"), ("lb-1", "198.18.0.10")):
        certificate = read(made["tls_certificates"][name])
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [name]
        assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == [address]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_address_may_be_a_name_or_ipv6() -> None:
    made = certify("one", [host("db", "db.example.org"), host("lb", "2001:db8::10")])["tls_certificates"]
    names = [read(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value for pem in made.values()]
    assert names[0].get_values_for_type(x509.DNSName) == ["db-1", "db.example.org"]
    assert str(names[1].get_values_for_type(x509.IPAddress)[0]) == "2001:db8::10"


def test_certificates_are_made_once_and_each_rig_has_its_own(rigs: Path) -> None:
    first = certify("one", HOSTS)
    assert certify("one", HOSTS) == first
    assert certify("two", HOSTS)["tls_authority"] != first["tls_authority"]
    assert (rigs / "one/tls/ca.pem").exists()
    for path in [rigs / "one/tls", *(rigs / "one/tls").iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_only_a_host_with_a_new_address_gets_a_new_certificate() -> None:
    first = certify("one", HOSTS)
    moved = certify("one", [host("db", "198.18.0.21"), *HOSTS[1:]])
    assert moved["tls_authority"] == first["tls_authority"]
    assert moved["tls_certificates"]["lb-1"] == first["tls_certificates"]["lb-1"]
    assert moved["tls_certificates"]["db-1"] != first["tls_certificates"]["db-1"]


@pytest.mark.parametrize("lost", ["ca.pem", "ca.key", "db-1.pem"])
def test_a_lost_or_damaged_file_is_replaced(rigs: Path, lost: str) -> None:
    first = certify("one", HOSTS)
    (rigs / "one/tls" / lost).write_text("damaged")
    again = certify("one", HOSTS)
    assert again["tls_certificates"]["db-1"] != first["tls_certificates"]["db-1"]
    assert (again["tls_authority"] == first["tls_authority"]) is (lost == "db-1.pem")
    for pem in again["tls_certificates"].values():
        read(pem).verify_directly_issued_by(read(again["tls_authority"]))
    (rigs / "one/tls" / lost).unlink()
    assert certify("one", HOSTS) != again


def test_a_certificate_that_expires_soon_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "VALID", certificates.RENEW - timedelta(days=1))
        old = certify("one", HOSTS)
    new = certify("one", HOSTS)
    assert new["tls_authority"] != old["tls_authority"]
    assert certify("one", HOSTS) == new
