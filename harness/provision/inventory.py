"""What the user wrote about the hosts: an Ansible inventory, judged before anything is made.

An inventory is plain Ansible YAML with one group a role. Where hosts are made for the user (`podman`, `vm`) a
group says how many and how large; where they exist (`static`) it lists them. Every variable must be one of
ours, one of Ansible's (`ansible_…`) or one that a role declares in meta/argument_specs.yml; anything else
is a UsageError that names file, line and the nearest known key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, WrapValidator, create_model

from harness.errors import UsageError
from harness.model import MAX_HOSTS, ROLES, Role
from harness.text import nearest

Provider = Literal["podman", "vm", "static"]
COUNTS: Mapping[Role, tuple[int, int]] = {"db": (1, 1), "app": (1, MAX_HOSTS), "lb": (1, 1), "load": (1, 8)}
"""Least and most hosts of a role."""


class _Vars(BaseModel):
    """Variables that mean something to the harness; roles' own are added from their argument_specs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Provider | None = None
    host_count: int | None = Field(None, ge=1, le=MAX_HOSTS)
    host_cpus: float | None = Field(None, ge=0.01, le=1024)
    host_memory: str | None = Field(None, pattern=r"^[1-9][0-9]*[kmg]$")
    address: str | None = None
    vm_image: str | None = None
    tls: StrictBool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The hosts of one role as asked for: `hosts` by name where they exist, else `count` to be made."""

    role: Role
    count: int
    variables: Mapping[str, Any]
    hosts: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A judged inventory file."""

    path: Path
    provider: Provider
    variables: Mapping[str, Any]
    groups: tuple[Group, ...]

    def group(self, role: Role) -> Group:
        """The group of a role; there is always one."""
        return next(group for group in self.groups if group.role == role)


def _literal_or(kind: Any) -> Any:
    """A type that also takes a Jinja expression, which only Ansible can judge."""

    def judge(value: Any, handler: Any) -> Any:
        return value if isinstance(value, str) and "{{" in value else handler(value)

    return Annotated[kind, WrapValidator(judge)]


_TYPES: Mapping[str, Any] = {
    "str": str,
    "path": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list[Any],
    "dict": dict[str, Any],
    "raw": Any,
}


def variables_model(roles: Path) -> type[BaseModel]:
    """A model of all variables an inventory may set: ours and those of every role's argument_specs."""
    fields: dict[str, Any] = {}
    for spec in sorted(roles.glob("*/meta/argument_specs.yml")):
        options = (read_yaml(spec)["argument_specs"]["main"] or {}).get("options") or {}
        for name, option in options.items():
            kind = _TYPES[option.get("type", "str")]
            if option.get("choices"):
                kind = Literal[tuple(option["choices"])]
            fields[name] = (_literal_or(kind) | None, None)
    ours = set(_Vars.model_fields)
    return create_model(
        "Variables", __base__=_Vars, **{name: field for name, field in fields.items() if name not in ours}
    )


def read_yaml(path: Path) -> Any:
    """The file's content. Raises UsageError with file and line where it is not YAML, or names a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path}: cannot be read: {reason}", hint="give --inventory FILE") from None
    try:
        _refuse_duplicates(yaml.compose(text, Loader=yaml.CSafeLoader), path)
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}", hint="check the indentation") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML: {error}") from None


def _refuse_duplicates(node: yaml.Node | None, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise UsageError(f"{path}:{key.start_mark.line + 1}: '{key.value}' stands here twice")
            seen.add(key.value)
            _refuse_duplicates(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path)


def _line(path: Path, keys: tuple[str | int, ...]) -> int:
    """The line (from 1) on which the value at `keys` begins, or the nearest above it that exists."""
    node: yaml.Node | None = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    line = 1
    for wanted in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == str(wanted):
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line


def _mapping(path: Path, keys: tuple[str, ...], value: Any, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """`value` as a mapping (nothing is an empty one) that holds no key besides `known` (empty: any)."""
    where = ".".join(keys) or "the file"
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{path}:{_line(path, keys)}: {where} must be a mapping")
    for key in value:
        if known and key not in known:
            raise UsageError(
                f"{path}:{_line(path, (*keys, key))}: unknown key '{key}' in {where}",
                hint=nearest(str(key), known),
            )
    return cast("dict[str, Any]", value)


def check_variables(path: Path, keys: tuple[str, ...], value: Any, model: type[BaseModel]) -> dict[str, Any]:
    """The variables that stand at `keys` of the file, judged. Raises UsageError with file and line."""
    variables = _mapping(path, keys, value)
    try:
        model.model_validate({k: v for k, v in variables.items() if not str(k).startswith("ansible_")})
    except ValidationError as failure:
        error = failure.errors()[0]
        name = str(error["loc"][0])
        line = _line(path, (*keys, name))
        if error["type"] == "extra_forbidden":
            raise UsageError(
                f"{path}:{line}: unknown variable '{name}'", hint=nearest(name, model.model_fields)
            ) from None
        raise UsageError(f"{path}:{line}: {name}: {error['msg'].lower()}") from None
    return variables


def read_inventory(path: Path, roles: Path) -> Inventory:
    """The inventory at `path` with the group_vars beside it, judged. Raises UsageError with file and line.

    As in Ansible, a variable in group_vars/<group>.yml wins over the same in the inventory file.
    """
    model = variables_model(roles)
    beside = _group_vars(path.parent / "group_vars", model)
    top = _mapping(path, (), read_yaml(path), ("all",))
    body = _mapping(path, ("all",), top.get("all"), ("vars", "children"))
    children = _mapping(path, ("all", "children"), body.get("children"), ROLES)
    variables = check_variables(path, ("all", "vars"), body.get("vars"), model) | beside["all"]
    provider: Provider = variables.get("provider", "static")
    groups = []
    for role in ROLES:
        at = ("all", "children", role)
        group = _mapping(path, at, children.get(role), ("vars", "hosts"))
        hosts = {
            str(name): check_variables(path, (*at, "hosts", str(name)), value, model)
            for name, value in _mapping(path, (*at, "hosts"), group.get("hosts")).items()
        }
        group_vars = check_variables(path, (*at, "vars"), group.get("vars"), model) | beside[role]
        if "tls" in group_vars or any("tls" in own for own in hosts.values()):
            raise UsageError(
                f"{path}:{_line(path, (*at, 'vars', 'tls'))}: a rig speaks TLS as a whole",
                hint="put `tls` under all: vars:",
            )
        if provider != "static" and hosts:
            raise UsageError(
                f"{path}:{_line(path, (*at, 'hosts'))}: provider {provider} makes its hosts itself",
                hint="say host_count, or take `provider: static` for machines that exist",
            )
        default = 4 if role == "app" else 1
        count = len(hosts) if provider == "static" else group_vars.get("host_count", default)
        least, most = COUNTS[role]
        if not least <= count <= most:
            line = _line(path, (*at, "vars", "host_count"))
            raise UsageError(f"{path}:{line}: {count} hosts in {role}", hint=f"give {least} to {most}")
        groups.append(Group(role=role, count=count, variables=group_vars, hosts=hosts))
    return Inventory(path=path, provider=provider, variables=variables, groups=tuple(groups))


def _group_vars(folder: Path, model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {name: {} for name in ("all", *ROLES)}
    for path in sorted(folder.glob("*.y*ml")):
        if path.stem not in found:
            raise UsageError(f"{path}: there is no group '{path.stem}'", hint=nearest(path.stem, found))
        found[path.stem] = check_variables(path, (), read_yaml(path), model)
    return found
