"""The texts of the files that pgAdmin and libpq read: settings, list of servers, service of the rig's database.

The connection is a service of libpq (its manual, section "The Connection Service File"), and pgAdmin stores only its
name. Port and password can change without a change of pgAdmin's own data, in which a user may have saved queries.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

LOGIN = "pgcrucible@example.com"
"""Name of pgAdmin's user; it has to look like an address of electronic mail, and nothing is ever sent to it."""
SERVICE = "rig"
CONNECT_S = 15
"""Longest wait of pgAdmin for a connection."""


def settings(rig: str, folder: Path, port: int) -> str:
    """Returns the module `config_local` (config.py of pgAdmin explains each setting).

    pgAdmin listens on the loopback, writes below `folder` only, and asks no other host for anything. Cookies of all
    ports of a host are shared, so their name is the rig's.
    """
    values = {
        "SERVER_MODE": True,
        "DATA_DIR": str(folder / "data"),
        "DEFAULT_SERVER": "127.0.0.1",
        "DEFAULT_SERVER_PORT": port,
        "ALLOWED_HOSTS": ["127.0.0.1", "localhost"],
        "SESSION_COOKIE_NAME": f"pgcrucible_{rig.replace('-', '_')}",
        "UPGRADE_CHECK_ENABLED": False,
        "SHOW_GRAVATAR_IMAGE": False,
        "LLM_ENABLED": False,
        "MFA_ENABLED": False,
        "MASTER_PASSWORD_REQUIRED": False,
        "AUTO_DISCOVER_SERVERS": False,
        "CONSOLE_LOG_LEVEL": 40,
        "FILE_LOG_LEVEL": 40,
        "LOG_ROTATION_MAX_LOG_FILES": 2,
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())


def servers(rig: str, *, database: str, user: str) -> str:
    """Returns the file for `setup.py load-servers`: the rig's server, restricted to the database of the service."""
    server = {
        "Name": f"rig {rig}",
        "Group": "Servers",
        "Service": SERVICE,
        "MaintenanceDB": database,
        "Username": user,
        "DBRestriction": database,
        "DBRestrictionType": "databases",
        "ConnectionParameters": {"connect_timeout": CONNECT_S},
    }
    return json.dumps({"Servers": {"1": server}}, indent=2) + "\n"


def service(options: Mapping[str, object]) -> str:
    """Returns libpq's service file; it holds the password."""
    return f"[{SERVICE}]\n" + "".join(f"{name}={value}\n" for name, value in options.items())
