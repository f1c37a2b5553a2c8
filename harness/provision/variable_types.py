"""Types of the variables that name a port, a number of processes, or something that `destroy` removes. Pure.

A destroy of existing machines removes the directories, the user, the database and its roles by these names: a name that
belongs to the system is refused before anything is created.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

MAX_INT = 2**31 - 1
_SYSTEM_USERS = {"root", "daemon", "bin", "sys", "mail", "backup", "nobody", "postgres", "haproxy", "sshd", "www-data"}
_SYSTEM_DATABASES = {"postgres", "template0", "template1"}


def removable_directory(path: str) -> str:
    """Returns the path. Raises ValueError for one that is not plain and absolute, or that may hold other things."""
    if not re.fullmatch(r"(?:/[A-Za-z0-9_+@-][A-Za-z0-9._+@-]*){2,}", path) or posixpath.normpath(path) != path:
        raise ValueError("input should be an absolute path of two or more plain names, such as /opt/pgcrucible")
    if "pgcrucible" not in path:
        raise ValueError("destroy removes this directory: its path should contain 'pgcrucible'")
    return path


def _name(system: set[str]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,30}", name):
            raise ValueError("input should be a name of a-z, 0-9 and _, with at most 31 characters")
        if name in system or name.startswith("pg_"):
            raise ValueError(f"destroy removes it, and '{name}' belongs to the system")
        return name

    return check


def no_bool(value: Any) -> Any:
    """Returns the value; True would be 1."""
    if isinstance(value, bool):
        raise ValueError("input should be a number")  # noqa: TRY004  # pydantic expects it
    return value


def whole(least: int, most: int) -> Any:
    """Returns the type of a whole number of these bounds."""
    return Annotated[int, BeforeValidator(no_bool), Field(ge=least, le=most)]


_DIRECTORY = Annotated[str, AfterValidator(removable_directory)]
_ROLE = Annotated[str, AfterValidator(_name({"postgres", "public", "none"}))]
_TYPES: dict[str, Any] = {
    "app_workers": whole(1, 64),
    "load_processes": whole(1, 64),
    "common_directory": _DIRECTORY,
    "common_settings_directory": _DIRECTORY,
    "common_user": Annotated[str, AfterValidator(_name(_SYSTEM_USERS))],
    "postgres_database": Annotated[str, AfterValidator(_name(_SYSTEM_DATABASES))],
    "postgres_app_user": _ROLE,
    "postgres_harness_user": _ROLE,
    "postgres_owner": _ROLE,
}


def special_type(name: str) -> Any | None:
    """Returns the type of a variable, or None if its argument_specs say all that there is to say."""
    return whole(1, 65535) if name.endswith("_port") else _TYPES.get(name)
