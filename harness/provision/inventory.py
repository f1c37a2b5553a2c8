"""Reads and validates the user's Ansible inventory before anything is created.

An inventory is plain Ansible YAML with one group per role. With a provider that creates hosts (`podman`, `vm`) a
group gives their number and size; with `static` it lists existing hosts. Every variable must be one of the
harness's, one of Ansible's (`ansible_…`) or one that a role declares in meta/argument_specs.yml; any other variable
is a UsageError that names file, line and the nearest known name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, WrapValidator, create_model

from harness.errors import UsageError
from harness.model import MAX_HOSTS, ROLES, Role
from harness.provision.inventory_model import Group, Inventory
from harness.provision.providers import INVENTORY_DEFAULT, PROVIDERS
from harness.provision.yaml_file import line_of, mapping_at, read_yaml
from harness.rig.state import Variables
from harness.text import nearest

COUNTS: Mapping[Role, tuple[int, int]] = {"db": (1, 1), "app": (1, MAX_HOSTS), "lb": (1, 1), "load": (1, 8)}
"""Minimum and maximum number of hosts per role."""


class _Vars(BaseModel):
    """Variables that the harness itself reads; `provider` and those of the roles are added by variables_model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host_count: int | None = Field(None, ge=1, le=MAX_HOSTS)
    host_cpus: float | None = Field(None, ge=0.01, le=1024)
    host_memory: str | None = Field(None, pattern=r"^[1-9][0-9]*[kmg]$")
    address: str | None = None
    vm_image: str | None = None
    tls: StrictBool | None = None


def _literal_or(kind: Any) -> Any:
    """Returns a type that also accepts a Jinja expression, which only Ansible can evaluate."""

    def check(value: Any, handler: Any) -> Any:
        return value if isinstance(value, str) and "{{" in value else handler(value)

    return Annotated[kind, WrapValidator(check)]


_TYPES: Mapping[str, object] = {
    "str": str,
    "path": str,
    "int": int,
    "float": float,
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
            kind = _TYPES[option.get("type", "str")]
            if option.get("choices"):
                kind = Literal[tuple(option["choices"])]
            fields[name] = (_literal_or(kind) | None, None)
    fields = {name: field for name, field in fields.items() if name not in _Vars.model_fields}
    fields["provider"] = (Literal[tuple(PROVIDERS)] | None, None)
    return create_model("Variables", __base__=_Vars, **fields)


def check_variables(path: Path, keys: tuple[str, ...], value: Any, model: type[BaseModel]) -> dict[str, Any]:
    """Returns the variables at `keys` of the file if they are valid. Raises UsageError with file and line."""
    variables = mapping_at(path, keys, value)
    try:
        model.model_validate({k: v for k, v in variables.items() if not str(k).startswith("ansible_")})
    except ValidationError as failure:
        error = failure.errors()[0]
        name = str(error["loc"][0])
        line = line_of(path, (*keys, name))
        if error["type"] == "extra_forbidden":
            raise UsageError(
                f"{path}:{line}: unknown variable '{name}'", hint=nearest(name, model.model_fields)
            ) from None
        raise UsageError(f"{path}:{line}: {name}: {error['msg'].lower()}") from None
    return variables


def read_inventory(path: Path, roles: Path) -> Inventory:
    """Returns the inventory at `path` with the group_vars beside it. Raises UsageError with file and line.

    As in Ansible, a variable in group_vars/<group>.yml overrides the same variable in the inventory file.
    """
    model = variables_model(roles)
    group_vars = _read_group_vars(path.parent / "group_vars", model)
    top = mapping_at(path, (), read_yaml(path), ("all",))
    body = mapping_at(path, ("all",), top.get("all"), ("vars", "children"))
    children = mapping_at(path, ("all", "children"), body.get("children"), ROLES)
    variables = check_variables(path, ("all", "vars"), body.get("vars"), model) | dict(group_vars["all"])
    provider = variables.get("provider") or INVENTORY_DEFAULT
    groups = tuple(
        _read_group(path, role, children.get(role), provider=provider, group_vars=group_vars[role], model=model)
        for role in ROLES
    )
    return Inventory(path=path, provider=provider, variables=variables, groups=groups)


def _read_group(
    path: Path, role: Role, value: Any, *, provider: str, group_vars: Variables, model: type[BaseModel]
) -> Group:
    keys = ("all", "children", role)
    group = mapping_at(path, keys, value, ("vars", "hosts"))
    hosts = {
        str(name): check_variables(path, (*keys, "hosts", str(name)), host, model)
        for name, host in mapping_at(path, (*keys, "hosts"), group.get("hosts")).items()
    }
    variables = check_variables(path, (*keys, "vars"), group.get("vars"), model) | dict(group_vars)
    if "tls" in variables or any("tls" in host for host in hosts.values()):
        raise UsageError(
            f"{path}:{line_of(path, (*keys, 'vars', 'tls'))}: `tls` applies to the whole rig, not to one role or host",
            hint="put `tls` under all: vars:",
        )
    makes_hosts = PROVIDERS[provider].MAKES_HOSTS
    if makes_hosts and hosts:
        raise UsageError(
            f"{path}:{line_of(path, (*keys, 'hosts'))}: provider {provider} creates its hosts itself",
            hint="give host_count, or use `provider: static` for machines that exist",
        )
    count = variables.get("host_count") or (4 if role == "app" else 1) if makes_hosts else len(hosts)
    least, most = COUNTS[role]
    if not least <= count <= most:
        line = line_of(path, (*keys, "vars", "host_count"))
        raise UsageError(f"{path}:{line}: {count} hosts in {role}", hint=f"give {least} to {most}")
    return Group(role=role, count=count, variables=variables, hosts=hosts)


def _read_group_vars(folder: Path, model: type[BaseModel]) -> dict[str, Variables]:
    variables: dict[str, Variables] = {name: {} for name in ("all", *ROLES)}
    for path in sorted(folder.glob("*.y*ml")):
        if path.stem not in variables:
            raise UsageError(f"{path}: there is no group '{path.stem}'", hint=nearest(path.stem, variables))
        variables[path.stem] = check_variables(path, (), read_yaml(path), model)
    return variables
