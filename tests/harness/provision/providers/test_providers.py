"""Every provider meets the contract, and other code does not compare provider names."""

from __future__ import annotations

import ast
import re

import pytest

from harness.errors import RigError
from harness.provision import providers
from harness.provision.inventory import read_inventory
from harness.provision.providers import PROVIDERS, provider_of
from harness.rig.state import PLAYBOOKS, ROLES_DIR, ROOT
from tests.support.builders import rig_state

CODE = [path for path in (ROOT / "harness").rglob("*.py") if "provision/providers/" not in str(path)]


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_that_makes_hosts_has_an_inventory_and_a_playbook(name: str) -> None:
    provider = PROVIDERS[name]
    if provider.MAKES_HOSTS:
        assert read_inventory(ROOT / provider.INVENTORY, ROLES_DIR).provider == name
        assert (PLAYBOOKS / f"{name}_create.yml").exists()
    assert f"| `{name}`" in (ROOT / "docs/rig.md").read_text(encoding="utf-8")


def test_the_defaults_are_providers() -> None:
    assert PROVIDERS[providers.DEFAULT].INVENTORY
    assert not PROVIDERS[providers.INVENTORY_DEFAULT].MAKES_HOSTS


def test_a_rig_of_an_unknown_provider_is_refused() -> None:
    with pytest.raises(RigError, match="rig paper: unknown provider 'cloud'") as caught:
        provider_of(rig_state(provider="cloud"))
    assert "podman, vm, static" in caught.value.hint


def comparisons(text: str) -> list[str]:
    """Returns the expressions that compare a provider with a name."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Compare)
        if any(isinstance(part, ast.Constant) and part.value in PROVIDERS for part in ast.walk(node))
        if "provider" in ast.unparse(node)
    ]


def test_no_other_code_compares_the_name_of_a_provider() -> None:
    assert {str(path): found for path in CODE if (found := comparisons(path.read_text(encoding="utf-8")))} == {}
    for template in (ROOT / "harness").rglob("*.j2"):
        assert not re.search(r"provider\s*(==|!=|in)", template.read_text(encoding="utf-8")), template


def test_a_comparison_is_found() -> None:
    assert comparisons("if rig.provider in ('podman', 'vm'): pass") == ["rig.provider in ('podman', 'vm')"]
    assert comparisons("x = shutil.which('podman') is None") == []
