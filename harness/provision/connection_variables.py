"""The `ansible_…` variables of an inventory: those that this program supports, under one name each. Pure.

A host is reached by Ansible and by this program. A variable that only one of them follows is refused.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping

from harness.errors import UsageError
from harness.provision.inventory_files import Part
from harness.text import nearest, printable

SAME: Mapping[str, str] = {
    "ansible_ssh_host": "ansible_host",
    "ansible_ssh_port": "ansible_port",
    "ansible_ssh_user": "ansible_user",
    "ansible_private_key_file": "ansible_ssh_private_key_file",
}
"""Ansible's other name of a variable -> the name used here."""
_JINJA = re.compile(r"\{[{%#]")


def has_jinja(value: object) -> bool:
    """Whether text, or text in a list or a mapping, has a Jinja expression."""
    if isinstance(value, str):
        return _JINJA.search(value) is not None
    if isinstance(value, Mapping):
        return any(has_jinja(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(has_jinja, value))


def address_problem(value: object) -> str:
    """Returns why the value is not a host's name or address, or an empty string."""
    if not isinstance(value, str):
        return "is not text"
    return (
        "" if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*|:[A-Fa-f0-9:.]+", value) else "is not a name or an address"
    )


def _port(value: object) -> str:
    digits = type(value) in (int, str) and re.fullmatch(r"[0-9]{1,5}", str(value), re.ASCII)
    return "" if digits and 1 <= int(str(value)) <= 65535 else "is not a port from 1 to 65535"


def _user(value: object) -> str:
    valid = isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*\$?", value)
    return "" if valid else "is not a user's name"


def _text(value: object) -> str:
    return "" if isinstance(value, str) and value.strip() else "is not text"


def _arguments(value: object) -> str:
    if not isinstance(value, str):
        return "is not text"
    try:
        shlex.split(value)
    except ValueError as error:
        return f"cannot be split into arguments: {str(error).lower()}"
    return ""


def _number(value: object) -> str:
    valid = re.fullmatch(r"[0-9]{1,6}", str(value)) and type(value) in (int, str)
    return "" if valid else "is not a whole number"


def _one_of(*values: object) -> Callable[[object], str]:
    return lambda value: "" if value in values else f"is not supported, only {values[0]}"


_CHECKS: Mapping[str, Callable[[object], str]] = {
    "ansible_host": address_problem,
    "ansible_port": _port,
    "ansible_user": _user,
    "ansible_ssh_private_key_file": _text,
    "ansible_ssh_common_args": _arguments,
    "ansible_connection": _one_of("ssh"),
    "ansible_become": _one_of("true", True, "yes"),
    "ansible_become_method": _one_of("sudo"),
    "ansible_become_user": _one_of("root"),
    "ansible_python_interpreter": _text,
    "ansible_ssh_timeout": _number,
    "ansible_ssh_retries": _number,
    "ansible_pipelining": _one_of("true", True),
    "ansible_ssh_pipelining": _one_of("true", True),
}
_OWN_LOGIN = ("ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file")
_IMPLIED = ("ansible_connection", "ansible_become", "ansible_become_method", "ansible_become_user")
"""Variables with one supported value, which holds anyway: they are not passed on."""


def connection_variables(part: Part, provider: str, *, makes_hosts: bool) -> dict[str, object]:
    """Returns the `ansible_…` variables of a part under their names here. Raises UsageError with file and line.

    `makes_hosts`: the provider creates the hosts and decides how they are reached.
    """
    variables: dict[str, object] = {}
    names = [name for name in part.variables if name.startswith("ansible_")]
    for written in sorted(names, key=lambda name: name in SAME):
        value = part.variables[written]
        name = SAME.get(written, written)
        where, shown = part.where(written), printable(written, 80)
        if name not in _CHECKS:
            raise UsageError(f"{where}: '{shown}' is not supported", hint=nearest(written, [*_CHECKS, *SAME]))
        if has_jinja(value):
            raise UsageError(f"{where}: {shown}: Jinja is not evaluated here", hint="write the value")
        if problem := _CHECKS[name](value):
            raise UsageError(f"{where}: {shown}: '{printable(value, 80)}' {problem}")
        if makes_hosts and name in _OWN_LOGIN:
            raise UsageError(f"{where}: {shown}: provider {provider} sets it for its hosts", hint="remove it")
        if name in variables and str(variables[name]) != str(value):
            raise UsageError(f"{where}: {shown}: {name} has another value here", hint="set one of the two")
        variables[name] = value
    return {name: value for name, value in variables.items() if name not in _IMPLIED}
