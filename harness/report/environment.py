"""Whether two runs were measured in the same environment: what may differ, and what forbids to compare them.

Every recorded fact of a host counts unless it is known to be a name or a figure of the moment, so a fact that
is recorded tomorrow is compared tomorrow. Of the settings only durability and TLS forbid: to see what another
`shared_buffers`, pool or code does is what a comparison is for, but a database that need not flush its log
would win against any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DURABILITY: dict[str, str | None] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "wal_sync_method": None,
    "synchronous_standby_names": "",
    "commit_delay": "0",
    "journal_mode": None,
    "synchronous": None,
}
"""Settings that change what an acknowledgement promises, with PostgreSQL's default: a run stores only the others'
values, so a setting that is absent has this one. None: no default is the same everywhere. The last two are SQLite's."""

SQLITE = ("sqlite-naive", "sqlite-tuned")
"""The backends whose pragmas, as read back, stand under `settings` where a run measured them."""

SECURITY: dict[str, str | None] = {"tls": "off", "ssl": "off", "sslmode": None}
"""Settings that encrypt, with what holds when they are absent."""

_GUARDED = DURABILITY | SECURITY | {"server_version": None}

MOMENTARY = frozenset(
    {"name", "address", "ssh_address", "ssh_port", "ssh_user", "jump", "id", "boot_id", "canary", "canaries"}
)
"""Facts of a host that say which one it is or how it felt, not what it is."""

RIG_NAMES = frozenset({"name", "hosts", "code_hash", "image"})
"""Keys of `rig` that name this rig, are looked at host by host, or (the last two) are hashes that are shown only:
the image's contents that matter are versions of the hosts."""

OUR_CODE = frozenset({"app", "app_code", "code", "harness", "content", "pgcrucible"})
"""Versions that are ours: shown, never refused, because to compare two of them is the purpose."""

_MEMORY_TOLERANCE = 0.02
"""The same machine reports a little more or less memory from one kernel or boot to the next."""

_ABSENT = "not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact in which two runs differ; `forbids` if no claim may rest on a comparison in spite of it."""

    fact: str
    a: str
    b: str
    forbids: bool

    def __str__(self) -> str:
        return f"{self.fact}: {self.a} against {self.b}"


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between the environments of two manifests, the forbidding facts first, each by name."""
    found = []
    for forbids, facts in ((True, environment), (False, _shown)):
        left, right = facts(a), facts(b)
        for fact in sorted(left.keys() | right.keys()):
            one, other = (side.get(fact, _default(fact)) for side in (left, right))
            if not _same(fact, one, other) and _of_both(fact, a, b):
                found.append(Difference(fact=fact, a=one, b=other, forbids=forbids))
    return tuple(found)


def environment(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a manifest that have to be equal: of the rig, of its hosts by role, of its durability."""
    rig = _mapping(manifest.get("rig"))
    facts = {f"rig.{key}": text for key, text in _flat(rig) if key.split(".")[0] not in RIG_NAMES}
    hosts = [host for host in _list(rig.get("hosts")) if isinstance(host, Mapping)]
    if hosts:
        roles = Counter(_text(host.get("role")) for host in hosts)
        facts["topology"] = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
    by_role: dict[str, set[str]] = {}
    for host in hosts:
        for key, text in _flat(host):
            path = key.split(".")
            if path[0] not in MOMENTARY and key != "role" and not _ours(path):
                by_role.setdefault(f"{_text(host.get('role'))}.{key}", set()).add(text)
    facts |= {key: ", ".join(sorted(values)) for key, values in by_role.items()}
    return facts | {key: text for key, text in _settings(manifest) if _leaf(key) in _GUARDED}


def _shown(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What is worth showing when it differs: code, and every setting that does not forbid."""
    facts = {f"code.{key}": text for key, text in _flat(_mapping(manifest.get("code")))}
    facts |= {key: text for key, text in _settings(manifest) if _leaf(key) not in _GUARDED}
    rig = _mapping(manifest.get("rig"))
    facts |= {f"rig.{key}": _text(rig[key]) for key in ("code_hash", "image") if rig.get(key)}
    versions: dict[str, set[str]] = {}
    for host in _list(rig.get("hosts")):
        if isinstance(host, Mapping):
            for key, text in _flat(host):
                if _ours(key.split(".")):
                    versions.setdefault(f"{_text(host.get('role'))}.{key}", set()).add(text)
    return facts | {key: ", ".join(sorted(values)) for key, values in versions.items()}


def _settings(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((f"settings.{key}", text) for key, text in _flat(_mapping(manifest.get("settings"))))


def _of_both(fact: str, *manifests: Mapping[str, Any]) -> bool:
    """False for the pragmas of a SQLite set-up that only one of the runs measured: there is nothing to compare."""
    component = fact.removeprefix("settings.").split(".")[0]
    return component not in SQLITE or all(component in _mapping(each.get("settings")) for each in manifests)


def _ours(path: list[str]) -> bool:
    return path[0] == "versions" and path[-1] in OUR_CODE


def _same(fact: str, a: str, b: str) -> bool:
    if a == b:
        return True
    if not _leaf(fact).startswith("memory"):
        return False
    try:
        one, other = float(a), float(b)
    except ValueError:
        return False
    return abs(one - other) <= _MEMORY_TOLERANCE * max(abs(one), abs(other))


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", _text(value)


def _text(value: object) -> str:
    """One spelling for what YAML reads in several: on, true and True; 4 and 4.0."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return {"true": "on", "false": "off"}.get(text.lower(), text)


def _default(fact: str) -> str:
    default = _GUARDED.get(_leaf(fact))
    return _ABSENT if default is None else default


def _leaf(fact: str) -> str:
    return fact.rsplit(".", 1)[-1]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
