"""Writes the tables in README.md and docs/ that are made from the code: `./run docs`. A test fails when one is stale.

A table is between `<!-- NAME: written by ./run docs -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import partial
from inspect import Parameter, signature
from pathlib import Path

import yaml

import tasks
from app.settings import Settings
from harness.cli.configuration import described, variable_names
from harness.cli.task_groups import examples_of
from harness.plan.fault_schedule import KINDS
from harness.plan.options import OPTIONS
from harness.plan.scenario import Scenario
from harness.scenarios import SCENARIOS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "docs/commands.md",
    "docs/configuration.md",
    "docs/faults.md",
    "docs/scenarios.md",
    "docs/settings.md",
)
WIDTH = 120


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for cells in rows)])


def commands() -> str:
    """One section per task: its sentence, its options and examples."""
    return "\n\n".join("\n".join(_command(name)) for name in sorted(tasks.namespace.task_names))


def _command(name: str) -> Iterator[str]:
    body = tasks.namespace[name]
    parameters = [p for p in signature(body.body).parameters.values() if p.name != "_"]
    positional = [p.name.upper() for p in parameters if p.default is Parameter.empty]
    yield f"### {' '.join([name, *positional])}\n\n{(body.__doc__ or '').strip()}"
    rows = []
    for parameter in parameters:
        option = parameter.name.replace("_", "-")
        if parameter.default is Parameter.empty:
            shown = parameter.name.upper()
        else:
            shown = f"--{option}" + ("" if parameter.default is False else f" {_placeholder(option)}")
        rows.append((f"`{shown}`", body.help[option]))
    if rows:
        yield "\n" + _table(("option", "meaning"), rows)
    yield "\n" + "\n".join(f"    {example}" for example in examples_of(name))


def _placeholder(option: str) -> str:
    known = {each.name: each.value for each in OPTIONS.values()} | _PLACEHOLDERS
    return known.get(option, option.upper())


_PLACEHOLDERS = {
    "compare": "A B [C…]", "count": "N", "fail-if": "slower:P%", "interval": "S", "inventory": "FILE", "json": "FILE",
    "lines": "N", "out": "FILE",
    "recheck": "RUN", "select": "EXPRESSION", "trend": "SCENARIO",
}  # fmt: skip
"""Placeholders for the values of options that bench does not have. Others use the option's name."""


def configuration() -> str:
    """One row per setting: its key, its environment variable and its meaning."""
    rows = [(f"`{'.'.join(keys)}`", f"`{name}`", described(keys)) for name, keys in variable_names().items()]
    return _table(("key", "variable", "meaning"), rows)


def scenarios() -> str:
    """One row per scenario."""
    return _table(("scenario", "question"), [(f"`{s.name}`", s.question) for s in SCENARIOS.values()])


def faults() -> str:
    """One row per fault that can be injected."""
    rows = [(f"`{name}`", kind.help, PARTS[kind.part], f"{kind.hold_s:g} s") for name, kind in KINDS.items()]
    return _table(("fault", "what happens", "hits", "healed after"), rows)


PARTS = {"app": "service", "db": "database", "lb": "load balancer", "load": "load host"}


def _scenario(scenario: Scenario) -> str:
    """A scenario's question, criteria and background."""
    paragraphs = [f"**{scenario.question}**", *(["*Only with `--scenario`.*"] if not scenario.in_suite else [])]
    paragraphs.append("\n".join(_wrapped(f"- {criterion}", "  ") for criterion in scenario.criteria))
    if scenario.background:
        paragraphs.append(_wrapped(scenario.background))
    return "\n\n".join(paragraphs)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def service_settings() -> str:
    """One row per environment variable of the service."""
    rows = [
        (f"`{each.name.upper()}`", f"`{each.default}`" if each.default != "" else "none", each.metadata["help"])
        for each in fields(Settings)
    ]
    return _table(("variable", "default", "meaning"), rows)


def role_settings() -> str:
    """One section per Ansible role: its variables, from `meta/argument_specs.yml`."""
    return "\n\n".join(_role(role) for role in ROLES)


def _role(role: str) -> str:
    specs = yaml.safe_load((ROOT / "playbooks/roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    rows = [(f"`{name}`", option["type"], " ".join(option["description"].split())) for name, option in options.items()]
    return f"### {role}\n\n{_table(('variable', 'type', 'meaning'), rows)}"


ROLES = sorted(path.name for path in (ROOT / "playbooks/roles").iterdir() if path.is_dir())
TABLES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "configuration": configuration,
    "scenarios": scenarios,
    "faults": faults,
    "service settings": service_settings,
    "role settings": role_settings,
} | {f"scenario {name}": partial(_scenario, scenario) for name, scenario in SCENARIOS.items()}


def rendered(text: str) -> str:
    """The document with every table written from the code."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: written by ./run docs -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text = pattern.sub(lambda _, b=begin, e=end, t=table: f"{b}\n\n{t()}\n\n{e}", text)  # type: ignore[misc]  # mypy: lambda with defaults
    return text


def main() -> None:
    """Rewrites the documents whose tables are stale, and names them."""
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{name}: tables written")


if __name__ == "__main__":
    main()
