"""Whether two runs were measured in the same environment: facts that may differ, and facts that forbid a comparison.

Every recorded fact of a host counts, except those known to be names or momentary values; so a fact that a later version
records is compared too. Of the settings only durability and TLS forbid a comparison. A comparison is meant to show the
effect of another `shared_buffers`, pool or code, but a database that need not flush its log is not comparable.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.analysis.host_drift import is_more

PlainData = Mapping[str, Any]
"""A manifest, or a part of it, as read from YAML or JSON."""

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
"""Settings that change the durability of an acknowledged write, with PostgreSQL's defaults.

A run stores only settings that differ from their default, so an absent setting has this value. None: the default
depends on the platform. The last two are SQLite's."""

SQLITE = ("sqlite-naive", "sqlite-tuned")
"""The backends whose pragmas, as read back, are under `settings` of a run that measured them."""

SECURITY: dict[str, str | None] = {"tls": "off", "ssl": "off", "sslmode": None}
"""Settings of encryption, with their value where they are absent."""

_GUARDED = DURABILITY | SECURITY | {"server_version": None}

MOMENTARY = frozenset(
    {"name", "address", "ssh_address", "ssh_port", "ssh_user", "jump", "id", "boot_id", "canary", "canaries"}
)
"""Host facts that identify a host or vary from run to run; ignored when environments are compared."""

RIG_NAMES = frozenset({"name", "hosts", "code_hash", "image"})
"""Keys of `rig` that are not compared: its name, the hosts (compared by role), and two hashes that are only shown.

The relevant contents of the image are versions of the hosts."""

OUR_CODE = frozenset({"app", "app_code", "code", "harness", "content", "pgcrucible"})
"""Versions of pgcrucible itself. They are shown and never forbid: comparing two of them is the purpose."""

_MEMORY_TOLERANCE = 0.02
"""A machine reports slightly different memory with another kernel or after a reboot."""

_ABSENT = "not recorded"

Facts = dict[str, tuple[str, ...]]
"""Fact -> its values; a fact of hosts has one value for each host of the role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A fact in which two runs differ; `forbids`: a comparison in spite of it proves nothing."""

    fact: str
    a: str
    b: str
    forbids: bool

    def __str__(self) -> str:
        return f"{self.fact}: {self.a} against {self.b}"


def differences(a: PlainData, b: PlainData) -> tuple[Difference, ...]:
    """Returns the differences between the environments of two manifests by name, those that forbid first."""
    unlike = []
    for forbids, facts in ((True, environment), (False, _shown)):
        left, right = facts(a), facts(b)
        for fact in sorted(left.keys() | right.keys()):
            one, other = (side.get(fact, (_default(fact),)) for side in (left, right))
            if not _same(fact, one, other) and _in_both(fact, a, b):
                unlike.append(Difference(fact=fact, a=_summary(one), b=_summary(other), forbids=forbids))
    return tuple(unlike)


def environment(manifest: PlainData) -> Facts:
    """Returns the facts that must be equal: of the rig, of its durability, and of the hosts of each role.

    A fact of a role has one value per host.
    """
    rig = _mapping(manifest.get("rig"))
    facts: Facts = {f"rig.{key}": (text,) for key, text in _flat(rig) if key.split(".")[0] not in RIG_NAMES}
    hosts = _hosts(manifest)
    if hosts:
        roles = Counter(_text(host.get("role")) for host in hosts)
        facts["topology"] = (", ".join(f"{count} {role}" for role, count in sorted(roles.items())),)
    facts |= _by_role(hosts, lambda path: path[0] not in MOMENTARY and path != ["role"] and not _ours(path))
    return facts | {key: (text,) for key, text in _settings(manifest) if _leaf(key) in _GUARDED}


def moved_canaries(a: Sequence[PlainData], b: Sequence[PlainData]) -> Iterator[str]:
    """Returns a sentence for each role and canary whose median differs between the sides, given by their manifests.

    Such machines have the same facts but were not equally fast. The median is over the values before and after the
    trials of all runs of a side.
    """
    left, right = _canaries(a), _canaries(b)
    for key in sorted(left.keys() & right.keys()):
        one, other = statistics.median(left[key]), statistics.median(right[key])
        if is_more(key[1], min(one, other), max(one, other)):
            yield f"canary {' '.join(key)}: {one:.3g} in A, {other:.3g} in B: the machines were not equally fast"


def _canaries(manifests: Sequence[PlainData]) -> dict[tuple[str, str], list[float]]:
    measured: dict[tuple[str, str], list[float]] = {}
    for manifest in manifests:
        roles = {str(host.get("name")): _text(host.get("role")) for host in _hosts(manifest)}
        for when in _mapping(manifest.get("canaries")).values():
            for host, values in _mapping(when).items():
                for name, value in _mapping(values).items():
                    if isinstance(value, int | float) and 0 < value < math.inf:
                        measured.setdefault((roles.get(str(host), str(host)), str(name)), []).append(value)
    return measured


def _shown(manifest: PlainData) -> Facts:
    """Returns the facts whose differences are shown only: code, and settings that do not forbid."""
    facts: Facts = {f"code.{key}": (text,) for key, text in _flat(_mapping(manifest.get("code")))}
    facts |= {key: (text,) for key, text in _settings(manifest) if _leaf(key) not in _GUARDED}
    rig = _mapping(manifest.get("rig"))
    facts |= {f"rig.{key}": (_text(rig[key]),) for key in ("code_hash", "image") if rig.get(key)}
    return facts | _by_role(_hosts(manifest), _ours)


def _by_role(hosts: Sequence[Mapping[Any, Any]], wanted: Callable[[list[str]], bool]) -> Facts:
    """Returns `role.fact` -> its value on each host of the role, for the facts whose path is wanted."""
    roles: dict[str, list[dict[str, str]]] = {}
    for host in hosts:
        facts = {key: text for key, text in _flat(host) if wanted(key.split("."))}
        roles.setdefault(_text(host.get("role")), []).append(facts)
    return {
        f"{role}.{key}": tuple(facts.get(key, _ABSENT) for facts in members)
        for role, members in roles.items()
        for key in {key for facts in members for key in facts}
    }


def _hosts(manifest: PlainData) -> list[Mapping[Any, Any]]:
    return [host for host in _list(_mapping(manifest.get("rig")).get("hosts")) if isinstance(host, Mapping)]


def _settings(manifest: PlainData) -> Iterator[tuple[str, str]]:
    return ((f"settings.{key}", text) for key, text in _flat(_mapping(manifest.get("settings"))))


def _in_both(fact: str, *manifests: PlainData) -> bool:
    """False for the pragmas of a SQLite backend that only one run measured: there is nothing to compare."""
    component = fact.removeprefix("settings.").split(".")[0]
    return component not in SQLITE or all(component in _mapping(each.get("settings")) for each in manifests)


def _ours(path: list[str]) -> bool:
    return path[0] == "versions" and path[-1] in OUR_CODE


def _same(fact: str, a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether each value is on the same number of hosts.

    If the runs have different numbers of hosts, which is a difference in itself, only the set of values counts.
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


def _summary(values: Sequence[str]) -> str:
    """Returns the value, or each value with its number of hosts."""
    counts = sorted(Counter(values).items())
    return ", ".join(value if n == 1 or len(counts) == 1 else f"{n} x {value}" for value, n in counts)


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", _text(value)


def _text(value: object) -> str:
    """Returns one spelling for values that YAML writes in several ways: on, true and True; 4 and 4.0."""
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


def _mapping(value: object) -> PlainData:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
