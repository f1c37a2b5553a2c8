"""The task config: each setting with its origin, or the JSON Schema of pgcrucible.yml."""

from __future__ import annotations

from harness.cli.configuration import Configuration, lines, load
from harness.cli.console import say
from harness.errors import UsageError
from harness.text import strict_json


def run_config(*, schema: bool, as_json: bool) -> None:
    """Prints the configuration. Raises UsageError where it is wrong."""
    if schema and as_json:
        raise UsageError("--schema is JSON already", hint="leave out --json")
    if schema:
        print(strict_json(Configuration.model_json_schema(), indent=2))
    elif as_json:
        print(strict_json([{"name": each.name, "value": each.value, "origin": each.origin} for each in load()]))
    else:
        for line in lines(load()):
            say(line)
