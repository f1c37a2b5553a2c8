"""Reads the file of `bench --variants`: `name: {KEY: value}`, the baseline first."""

from __future__ import annotations

from pathlib import Path

from harness.errors import UsageError
from harness.plan.variants import Variant, parse_named
from harness.provision.yaml_file import line_of, mapping_at, read_yaml
from harness.text import printable

HINT = "give --variants FILE, with lines such as `fast: {postgres.synchronous_commit: off}`"


def read_variants(path: Path) -> tuple[Variant, ...]:
    """Returns the variants of a file, each value as it is written. Raises UsageError with file and line."""

    def where(keys: tuple[str, ...]) -> str:
        return f"{path}:{line_of(path, keys)}"

    named = {}
    for name, settings in mapping_at(path, (), read_yaml(path, texts=True, hint=HINT)).items():
        # an empty value is an empty text here: `baseline:` without settings is as provisioned
        named[name] = mapping_at(path, (name,), settings or None)
        for key, value in named[name].items():
            if not isinstance(value, str):
                raise UsageError(f"{where((name, key))}: {printable(key, 80)} must be one value", hint=HINT)
    return parse_named(named, where)
