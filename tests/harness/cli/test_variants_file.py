"""The file of variants: values as they are written, and every mistake with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.variants_file import read_variants
from harness.errors import UsageError
from harness.plan.variants import Variant


def test_values_are_texts_as_they_are_written(tmp_path: Path) -> None:
    """YAML reads `on` as true and 0123 as 83."""
    file = tmp_path / "v.yml"
    file.write_text(
        "# the first is the baseline\n"
        "baseline:\n"
        "durable: {postgres.synchronous_commit: on, app_pool_size: 0012}\n"
        "fast:\n  postgres.synchronous_commit: off\n  postgres.work_mem: 1MB\n  postgres.search_path: 'a, b'\n"
    )
    assert read_variants(file) == (
        Variant(name="baseline"),
        Variant(name="durable", settings={"postgres.synchronous_commit": "on", "app_pool_size": "12"}),
        Variant(
            name="fast",
            settings={
                "postgres.synchronous_commit": "off",
                "postgres.work_mem": "1MB",
                "postgres.search_path": "a, b",
            },
        ),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{}:1: there are no variants"),
        ("- a\n- b\n", "{}:1: the file must be a mapping"),
        ("a: {}\n", "{}:1: a single variant"),
        ("a:\nb: upsert\n", "{}:2: b must be a mapping"),
        ("a:\nb:\n  app_pool_size: [5, 20]\n", "{}:3: app_pool_size must be one value"),
        ("a:\nb:\n  app_pool_size:\n", "{}:3: app_pool_size has the value ''"),
        ("a:\nb:\n  colour: red\n", "{}:3: unknown setting 'colour'"),
        ("a:\nb:\n  strategie: upsert\n", "{}:3: unknown setting 'strategie'"),
        ("a:\n  app_pool_size: 5\na:\n  app_pool_size: 6\n", "{}:3: duplicate key 'a'"),
        ("a: {app_pool_size: 5}\nb: {app_pool_size: 5}\n", "{}:1: the variants 'a' and 'b' are the same"),
        ("a: {app_pool_size: 5\n", "{}:2: not YAML"),
        ("a: {}\nb: &b {app_pool_size: 5}\nc: {<<: *b}\n", "{}:3: "),
    ],
)
def test_a_mistake_is_one_line_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "v.yml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_variants(file)
    assert caught.value.message.startswith(message.format(file)), caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file") as caught:
        read_variants(tmp_path / "v.yml")
    assert "--variants" in caught.value.hint
