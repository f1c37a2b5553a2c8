"""Names of checks: unique, and the present names of renamed ones."""

from __future__ import annotations

from harness.checks import names
from harness.store.manifest import OLD_NAMES

NAMES = [value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)]


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_renamed_checks_have_a_present_name_and_their_old_ones_are_not_used_again() -> None:
    assert set(OLD_NAMES.values()) <= set(NAMES)
    assert not OLD_NAMES.keys() & set(NAMES)
