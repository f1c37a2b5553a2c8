"""Settings of a rig's PostgreSQL server that variants change: one file, read after all others, removed at the end.

A file does what ALTER SYSTEM would do, and three things better: removing it restores exactly what was there before,
also where the server cannot start with it; its existence shows the next bench that one was killed; and no role of the
database needs the right to change settings. What ALTER SYSTEM has set wins over it, which is read back and refused.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.errors import RigError, UsageError
from harness.plan.variants import POSTGRES, Variant, varied_keys
from harness.rig.rig import Rig
from harness.targets.rig_database import RigDatabase
from harness.text import nearest, printable

FILE = "zz-pgcrucible-variant.conf"
"""In conf.d, whose files are read in the order of their names: after those of the roles."""
TIMEOUT_S = 60.0
READ_S = 15.0
"""Longest wait for the content of the file."""
POLL_S = 0.1
_KEPT = re.compile(
    r"(.*_file|data_directory|listen_addresses|port|unix_socket_.*|ssl|ssl_.*|max_connections|(superuser_)?reserved_connections"
    r"|logging_collector|log_(destination|directory|filename|line_prefix|min_messages)|lc_messages|track_(counts|activities)"
    r"|datestyle|intervalstyle|timezone|client_encoding|search_path|(default_)?transaction_.*)"
)
"""Settings through which the harness and the service reach the server, and those of what both send and read."""

_SCRIPT = """
set -eu
action=$1 name=$2
set -- $(pg_lsclusters --no-header | grep -E '^[0-9]+ +main ' | tail -n 1)
version=$1 owner=$5 data=$6 log=$7
service=postgresql@$version-main.service
file=/etc/postgresql/$version/main/conf.d/$name
case $action in
read) echo "$file"; [ ! -e "$file" ] || cat "$file" ;;
write)
  cat > "$file.part"; chown "$owner:" "$file.part"; chmod 640 "$file.part"; mv "$file.part" "$file"
  runuser -u "$owner" -- "/usr/lib/postgresql/$version/bin/postgres" -C max_connections -D "$data" \\
    -c "config_file=/etc/postgresql/$version/main/postgresql.conf" > /dev/null || { rm -f "$file"; exit 9; } ;;
remove) rm -f "$file" "$file.part" ;;
reload) systemctl reload "$service" ;;
restart)
  systemctl reset-failed "$service" 2> /dev/null || true
  logged=$(stat -c %s "$log")
  systemctl restart "$service" || { tail -c "+$((logged + 1))" "$log" | grep -E 'FATAL:  |HINT:  ' >&2; exit 9; } ;;
esac
"""
"""Arguments: the action and the name of the file. Exit code 9: PostgreSQL refuses the settings, stderr says why."""
_REFUSED = 9
_STATE = """
SELECT name, coalesce(setting, '') || coalesce(unit, ''), context, pending_restart, coalesce(sourcefile, '')
FROM pg_settings
"""
_ROLES = """
SELECT split_part(setting, '=', 1), coalesce(nullif(setrole, 0)::regrole::text, 'the database')
FROM pg_db_role_setting, unnest(setconfig) AS setting
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A row of pg_settings: the value in force with its unit, and the file that it comes from (empty: none)."""

    value: str
    context: str
    pending_restart: bool
    file: str


class ServerSettings:
    """Changes the server. What it has is read before and after each change."""

    def __init__(self, rig: Rig, database: RigDatabase, *, timeout_s: float = TIMEOUT_S) -> None:
        self._rig, self._database, self._timeout_s = rig, database, timeout_s
        self._host = rig.role("db")[0]

    def require_names(self, variants: Sequence[Variant]) -> None:
        """Raises UsageError for a setting that the server does not have or that must stay as it is."""
        keys = [key for key in varied_keys(variants) if key.startswith(POSTGRES)]
        if not keys:
            return
        settings = self._settings()
        of_roles = dict(self._database.reading(lambda connection: connection.execute(_ROLES).fetchall()))
        for key in keys:
            name = key.removeprefix(POSTGRES).lower()
            if name not in settings:
                hint = nearest(name, settings).replace("did you mean '", f"did you mean '{POSTGRES}")
                if not hint.startswith("did you mean"):
                    hint = "the view pg_settings lists what the server has"
                raise UsageError(f"PostgreSQL has no setting '{printable(name, 80)}'", hint=hint)
            if _KEPT.fullmatch(name) or settings[name].context == "internal":
                raise UsageError(f"{key} cannot be varied", hint="the harness depends on it, or the server fixes it")
            if name in of_roles:
                raise UsageError(
                    f"{key} cannot be varied: {of_roles[name]} has its own value, which wins over the server's",
                    hint="the inventory sets it: postgres_app_timeouts",
                )

    def values(self, names: Sequence[str]) -> dict[str, str]:
        """Returns the values in force, by name as given."""
        settings = self._settings()
        return {name: settings[name.lower()].value for name in names}

    def configure(self, wanted: Mapping[str, str]) -> None:
        """Puts the settings into force, and all others as provisioned; restarts the server where a setting needs it.

        Raises UsageError where PostgreSQL refuses a value or does not take it, with all settings as provisioned again;
        and RigError.
        """
        path, *lines = self._run("read").splitlines()
        before = {line.split(" = ")[0].lower() for line in lines}
        if not wanted and not lines and not self._from(path):
            return
        try:
            self._apply(path, wanted, before)
        except UsageError:
            self._run("remove")
            self._apply(path, {}, {name.lower() for name in wanted} | before)
            raise

    def restore(self) -> None:
        """Removes the settings of a variant, also those that a killed bench left."""
        self.configure({})

    def _apply(self, path: str, wanted: Mapping[str, str], before: set[str]) -> None:
        if wanted:
            self._run("write", "".join(f"{name} = {_quoted(value)}\n" for name, value in wanted.items()))
        else:
            self._run("remove")
        changed = {name.lower() for name in wanted} | before
        restart = not self._reload() or any(
            setting.pending_restart or "backend" in setting.context
            for name, setting in self._settings().items()
            if name in changed
        )
        if restart:
            self._restart()
        self._require_in_force(path, wanted)

    def _reload(self) -> bool:
        """Makes the server read its files and waits for that; returns False where the server is down."""
        try:
            (asked,) = self._database.one("SELECT extract(epoch FROM clock_timestamp())")
        except RigError:
            return False
        self._run("reload")
        self._wait("PostgreSQL to load its settings", lambda: self._has_loaded_since(asked))
        return True

    def _restart(self) -> None:
        self._database.close()
        self._run("restart")
        self._wait("PostgreSQL to answer after its restart", self._answers)

    def _require_in_force(self, path: str, wanted: Mapping[str, str]) -> None:
        """Raises UsageError where the server does not take a setting from the file, RigError where it keeps another."""
        names = {name.lower() for name in wanted}
        settings = self._settings()
        for name in names:
            setting = settings[name]
            if setting.file != path or setting.pending_restart:
                raise UsageError(
                    f"{self._host.name}: PostgreSQL does not take {name} from {path}: it is {setting.value}, from "
                    f"{setting.file or setting.context}",
                    hint=f"did ALTER SYSTEM set it? undo that with: ALTER SYSTEM RESET {name}",
                )
        if left := [name for name in self._from(path) if name not in names]:
            raise RigError(
                f"{self._host.name}: PostgreSQL still takes {', '.join(left)} from {path}", hint="./run status"
            )

    def _from(self, path: str) -> list[str]:
        """Returns the settings that come from the file, by lower-case name."""
        return [name for name, setting in self._settings().items() if setting.file == path]

    def _settings(self) -> dict[str, Setting]:
        """Returns the rows of pg_settings by lower-case name."""
        rows = self._database.reading(lambda connection: connection.execute(_STATE).fetchall())
        return {
            name.lower(): Setting(value=value, context=context, pending_restart=pending, file=file)
            for name, value, context, pending, file in rows
        }

    def _has_loaded_since(self, asked: Any) -> bool:
        """Returns whether this session, and with it every new one, has read the files since a time."""
        (loaded,) = self._database.one("SELECT extract(epoch FROM pg_conf_load_time())")
        return bool(loaded >= asked)

    def _answers(self) -> bool:
        try:
            self._database.one("SELECT 1")
        except (RigError, psycopg.Error):
            return False
        return True

    def _wait(self, condition: str, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise RigError(
                    f"{self._host.name}: timed out after {self._timeout_s:g} s waiting for {condition}",
                    hint="see ./run status",
                )
            time.sleep(POLL_S)

    def _run(self, action: str, text: str = "") -> str:
        """Runs an action of _SCRIPT on the database host. Raises UsageError with PostgreSQL's reason, and RigError."""
        command = ["sh", "-c", _SCRIPT, "sh", action, FILE]
        limit_s = READ_S if action == "read" else self._timeout_s
        done = self._rig.at(self._host).run(command, stdin=text, timeout_s=limit_s, check=False)
        if done.code == _REFUSED:
            raise UsageError(
                f"PostgreSQL refuses the settings of a variant: {_reason(done.stderr)}",
                hint="the view pg_settings has the values allowed: min_val, max_val, enumvals",
            )
        if done.code:
            reason = printable(" ".join(done.stderr.split()), 300)
            raise RigError(
                f"{self._host.name}: PostgreSQL: {action} of its settings failed: {reason}", hint="./run status"
            )
        return done.stdout


def _quoted(value: str) -> str:
    """Returns a value as a string of postgresql.conf."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _reason(stderr: str) -> str:
    """Returns what PostgreSQL reports, without the prefix of its log."""
    lines = [match[2] for line in stderr.splitlines() if (match := re.search(r"(LOG|FATAL|HINT): +(.*)", line))]
    reasons = [line for line in lines if "contains errors" not in line]
    return printable("; ".join(reasons[:2]) or " ".join(stderr.split()) or "no reason was printed", 300)
