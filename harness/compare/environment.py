"""Whether two runs were measured in the same environment: what may differ, and what forbids to compare them.

Every recorded fact of a host counts unless it is known to be a name or a figure of the moment, so a fact that
is recorded tomorrow is compared tomorrow. Of the settings only durability and TLS forbid: to see what another
`shared_buffers`, pool or code does is what a comparison is for, but a database that need not flush its log
would win against any other.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.host_drift import UNEVEN

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

Facts = dict[str, tuple[str, ...]]
"""Fact -> its value; of hosts, on each host of the role."""


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
            one, other = (side.get(fact, (_default(fact),)) for side in (left, right))
            if not _same(fact, one, other) and _of_both(fact, a, b):
                found.append(Difference(fact=fact, a=_words(one), b=_words(other), forbids=forbids))
    return tuple(found)


def environment(manifest: Mapping[str, Any]) -> Facts:
    """The facts of a manifest that have to be equal: of the rig, of its durability, and of the hosts of each role,
    where a fact has as many values as there are hosts.
    """
    rig = _mapping(manifest.get("rig"))
    facts: Facts = {f"rig.{key}": (text,) for key, text in _flat(rig) if key.split(".")[0] not in RIG_NAMES}
    hosts = _hosts(manifest)
    if hosts:
        roles = Counter(_text(host.get("role")) for host in hosts)
        facts["topology"] = (", ".join(f"{count} {role}" for role, count in sorted(roles.items())),)
    facts |= _by_role(hosts, lambda path: path[0] not in MOMENTARY and path != ["role"] and not _ours(path))
    return facts | {key: (text,) for key, text in _settings(manifest) if _leaf(key) in _GUARDED}


def moved_canaries(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each role and canary whose median, before and after the trials, is another in B: machines that
    are the same by their facts and were not as fast.
    """
    left, right = _canaries(a), _canaries(b)
    for key in sorted(left.keys() & right.keys()):
        one, other = statistics.median(left[key]), statistics.median(right[key])
        if max(one, other) > (1 + UNEVEN) * min(one, other):
            yield f"canary {' '.join(key)}: {one:.3g} in A, {other:.3g} in B: the machines were not equally fast"


def _canaries(manifest: Mapping[str, Any]) -> dict[tuple[str, str], list[float]]:
    roles = {str(host.get("name")): _text(host.get("role")) for host in _hosts(manifest)}
    found: dict[tuple[str, str], list[float]] = {}
    for when in _mapping(manifest.get("canaries")).values():
        for host, values in _mapping(when).items():
            for name, value in _mapping(values).items():
                if isinstance(value, int | float) and 0 < value < math.inf:
                    found.setdefault((roles.get(str(host), str(host)), str(name)), []).append(value)
    return found


def _shown(manifest: Mapping[str, Any]) -> Facts:
    """What is worth showing when it differs: code, and every setting that does not forbid."""
    facts: Facts = {f"code.{key}": (text,) for key, text in _flat(_mapping(manifest.get("code")))}
    facts |= {key: (text,) for key, text in _settings(manifest) if _leaf(key) not in _GUARDED}
    rig = _mapping(manifest.get("rig"))
    facts |= {f"rig.{key}": (_text(rig[key]),) for key in ("code_hash", "image") if rig.get(key)}
    return facts | _by_role(_hosts(manifest), _ours)


def _by_role(hosts: Sequence[Mapping[Any, Any]], wanted: Callable[[list[str]], bool]) -> Facts:
    """`role.fact` -> its value on each host of the role, of the facts whose path is wanted."""
    roles: dict[str, list[dict[str, str]]] = {}
    for host in hosts:
        facts = {key: text for key, text in _flat(host) if wanted(key.split("."))}
        roles.setdefault(_text(host.get("role")), []).append(facts)
    return {
        f"{role}.{key}": tuple(facts.get(key, _ABSENT) for facts in members)
        for role, members in roles.items()
        for key in {key for facts in members for key in facts}
    }


def _hosts(manifest: Mapping[str, Any]) -> list[Mapping[Any, Any]]:
    return [host for host in _list(_mapping(manifest.get("rig")).get("hosts")) if isinstance(host, Mapping)]


def _settings(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((f"settings.{key}", text) for key, text in _flat(_mapping(manifest.get("settings"))))


def _of_both(fact: str, *manifests: Mapping[str, Any]) -> bool:
    """False for the pragmas of a SQLite set-up that only one of the runs measured: there is nothing to compare."""
    component = fact.removeprefix("settings.").split(".")[0]
    return component not in SQLITE or all(component in _mapping(each.get("settings")) for each in manifests)


def _ours(path: list[str]) -> bool:
    return path[0] == "versions" and path[-1] in OUR_CODE


def _same(fact: str, a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether as many hosts have each value. Of unlike numbers of hosts, which is a difference of its own, whether
    there are other values.
    """
    if len(a) != len(b):
        return set(a) == set(b)
    if sorted(a) == sorted(b):
        return True
    if not _leaf(fact).startswith("memory"):
        return False
    try:
        pairs = list(zip(sorted(map(float, a)), sorted(map(float, b)), strict=True))
    except ValueError:
        return False
    return all(abs(one - other) <= _MEMORY_TOLERANCE * max(abs(one), abs(other)) for one, other in pairs)


def _words(values: Sequence[str]) -> str:
    """The value, or each with how many hosts have it."""
    counts = sorted(Counter(values).items())
    return ", ".join(value if n == 1 or len(counts) == 1 else f"{n} x {value}" for value, n in counts)


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
