"""Reads and validates the user's Ansible inventory before anything is created.

An inventory is plain Ansible YAML with one group per role. Ansible itself reads it, with the group_vars and host_vars
beside it (ansible_reader.py); this module judges what Ansible read. With a provider that creates hosts (`podman`,
`vm`) a group gives their number and size; with `static` it lists existing hosts. Every variable must be one of the
harness's, one of Ansible's (`ansible_…`) or one that a role declares in meta/argument_specs.yml; any other variable
is a UsageError that names file, line and the nearest known name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WrapValidator,
    create_model,
)

from harness.errors import UsageError
from harness.model import MAX_HOSTS, ROLES, Role
from harness.provision.ansible_reader import ansible_listing
from harness.provision.connection_variables import address_problem, connection_variables, has_jinja
from harness.provision.inventory_files import Part, parts, read_files
from harness.provision.inventory_model import Group, Inventory
from harness.provision.providers import INVENTORY_DEFAULT, PROVIDERS
from harness.provision.variable_types import MAX_INT, no_bool, special_type, whole
from harness.provision.yaml_file import read_yaml
from harness.rig.state import READ_HERE, Variables
from harness.text import nearest, printable

COUNTS: Mapping[Role, tuple[int, int]] = {"db": (1, 1), "app": (1, MAX_HOSTS), "lb": (1, 1), "load": (1, 8)}
"""Minimum and maximum number of hosts per role."""
_OF_THE_RIG = ("provider", "tls", "vm_image", "faults_allowed")
_OF_A_ROLE = ("host_count", "host_cpus", "host_memory")


class _Vars(BaseModel):
    """Variables that the harness itself reads; `provider` and those of the roles are added by variables_model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host_count: int | None = Field(None, strict=True, ge=1, le=MAX_HOSTS)
    host_cpus: float | None = Field(None, strict=True, ge=0.01, le=1024)
    host_memory: str | None = Field(None, pattern=r"^[1-9][0-9]*[kmg]$")
    address: str | None = None
    vm_image: str | None = None
    tls: StrictBool | None = None
    faults_allowed: StrictBool | None = None


def _literal_or(kind: Any) -> Any:
    """Returns a type that also accepts a Jinja expression, which only Ansible can evaluate."""

    def check(value: Any, handler: Any) -> Any:
        return value if isinstance(value, str) and "{{" in value else handler(value)

    return Annotated[kind, WrapValidator(check)]


_TYPES: Mapping[str, object] = {
    "str": str,
    "path": str,
    "int": whole(0, MAX_INT),
    "float": Annotated[float, BeforeValidator(no_bool), Field(ge=0, allow_inf_nan=False)],
    "bool": bool,
    "list": list[Any],
    "dict": dict[str, object],
    "raw": Any,
}


def variables_model(roles: Path) -> type[BaseModel]:
    """Returns a model of all variables that an inventory may set: the harness's and those of each argument_specs."""
    fields: dict[str, Any] = {}
    for spec in sorted(roles.glob("*/meta/argument_specs.yml")):
        options = (read_yaml(spec)["argument_specs"]["main"] or {}).get("options") or {}
        for name, option in options.items():
            kind = special_type(name) or _TYPES[option.get("type", "str")]
            if option.get("choices"):
                kind = Literal[tuple(option["choices"])]
            fields[name] = (_literal_or(kind) | None, None)
    fields = {name: field for name, field in fields.items() if name not in _Vars.model_fields}
    fields["provider"] = (Literal[tuple(PROVIDERS)] | None, None)
    return create_model("Variables", __base__=_Vars, **fields)


def read_inventory(path: Path, roles: Path) -> Inventory:
    """Returns the inventory at `path` with the group_vars and host_vars beside it. Raises UsageError.

    As in Ansible, a variable in group_vars or host_vars overrides the same variable in the inventory file. An error
    names the file and the line.
    """
    model = variables_model(roles)
    files = read_files(path)
    groups, hosts = parts(files, ansible_listing(path))
    provider = _provider(groups["all"])
    check = _Checker(model, provider)
    return Inventory(
        path=path,
        provider=provider,
        variables=check.variables(groups["all"], "all"),
        groups=tuple(_group(role, groups[role], hosts[role], check) for role in ROLES),
    )


def _provider(part: Part) -> str:
    provider = part.variables.get("provider", INVENTORY_DEFAULT)
    if provider not in PROVIDERS:
        known = ", ".join(f"'{name}'" for name in PROVIDERS)
        raise UsageError(f"{part.where('provider')}: provider: input should be one of {known}")
    return str(provider)


class _Checker:
    """Checks the variables of one part of an inventory: names, values, and whether they may be set there."""

    def __init__(self, model: type[BaseModel], provider: str) -> None:
        self._model = model
        self.provider = provider
        self.makes_hosts = PROVIDERS[provider].MAKES_HOSTS

    def variables(self, part: Part, level: Literal["all", "role", "host"]) -> Variables:
        """Returns the variables, those of the connection under one name each. Raises UsageError."""
        for name, value in part.variables.items():
            shown = printable(name, 80)
            if value is None or (value == "" and name.startswith(("ansible_", "address"))):
                raise UsageError(f"{part.where(name)}: {shown} is empty", hint="give a value, or delete the line")
        connection = connection_variables(part, self.provider, makes_hosts=self.makes_hosts)
        others = {name: value for name, value in part.variables.items() if not name.startswith("ansible_")}
        self._check_values(part, others)
        for name, value in others.items():
            self._check_level(part, name, level)
            if name in (*READ_HERE, "address", *_OF_THE_RIG) and has_jinja(value):
                raise UsageError(f"{part.where(name)}: {name}: Jinja is not evaluated here", hint="write the value")
            if name == "address" and (problem := address_problem(value)):
                raise UsageError(f"{part.where(name)}: {name}: '{printable(value, 80)}' {problem}")
        return others | connection

    def _check_values(self, part: Part, variables: Variables) -> None:
        try:
            self._model.model_validate(variables)
        except ValidationError as failure:
            error = failure.errors()[0]
            name = str(error["loc"][0])
            where = part.where(name)
            if error["type"] == "extra_forbidden":
                raise UsageError(
                    f"{where}: unknown variable '{printable(name, 80)}'", hint=nearest(name, self._model.model_fields)
                ) from None
            raise UsageError(f"{where}: {name}: {printable(error['msg'].lower(), 300)}") from None

    def _check_level(self, part: Part, name: str, level: Literal["all", "role", "host"]) -> None:
        if level != "all" and name in _OF_THE_RIG:
            raise UsageError(
                f"{part.where(name)}: `{name}` applies to the whole rig, not to one role or host",
                hint=f"put `{name}` under all: vars:",
            )
        if level != "role" and name in _OF_A_ROLE:
            raise UsageError(
                f"{part.where(name)}: `{name}` applies to one role", hint=f"put `{name}` under vars: of a group"
            )
        if level == "host" and name in READ_HERE:
            raise UsageError(
                f"{part.where(name)}: `{name}` is the same on all hosts of a role",
                hint="put it under vars: of the group",
            )


def _group(role: Role, part: Part, hosts: Mapping[str, Part], check: _Checker) -> Group:
    variables = check.variables(part, "role")
    host_variables = {name: check.variables(host, "host") for name, host in hosts.items()}
    if check.makes_hosts and hosts:
        place = next(iter(hosts.values()))
        raise UsageError(
            f"{place.where('')}: provider {check.provider} creates its hosts itself",
            hint="give host_count, or use `provider: static` for machines that exist",
        )
    count = variables.get("host_count") or (4 if role == "app" else 1) if check.makes_hosts else len(hosts)
    least, most = COUNTS[role]
    if not least <= count <= most:
        raise UsageError(f"{part.where('host_count')}: {count} hosts in {role}", hint=f"give {least} to {most}")
    return Group(role=role, count=count, variables=variables, hosts=host_variables)
