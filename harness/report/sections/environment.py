"""The environment of a run (hosts, code, settings, stages), and the commands that repeat it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.report.formatting import NOTHING, number, size
from harness.report.page_model import Fold, Table, Value, table
from harness.store.manifest import Manifest


def environment_blocks(manifest: Manifest) -> Iterator[Table | Fold]:
    """Returns the hosts, the code and the seed, then, folded, settings by component, options and durations."""
    rig = manifest.rig
    note = ", ".join(
        text
        for text in (
            f"provider {rig.provider}",
            f"rig {rig.name}",
            rig.acceleration,
            "TLS" if rig.tls else "",
            f"image {rig.image}" if rig.image else "",
            f"deployed code {rig.code_hash}" if rig.code_hash else "",
        )
        if text
    )
    facts = {
        "kernel": [host.kernel or NOTHING for host in rig.hosts],
        "CPU model": [host.cpu_model or NOTHING for host in rig.hosts],
        "versions": [
            ", ".join(f"{name} {version}" for name, version in h.versions.items()) or NOTHING for h in rig.hosts
        ],
    }
    alike = [name for name, values in facts.items() if len(values) > 1 and len(set(values)) == 1]
    if alike:
        note = f"Each host: {'; '.join(f'{name} {facts[name][0]}' for name in alike)}. Rig: {note}"
    others = [name for name in facts if name not in alike]
    yield table(
        "Hosts",
        ("host", "role", "CPU cap, cores", "memory", *others),
        [
            [
                host.name,
                host.role,
                f"{host.cpus:g}" if host.cpus else NOTHING,
                size(host.memory),
                *(facts[name][place] for name in others),
            ]
            for place, host in enumerate(rig.hosts)
        ],
        note=note,
    )
    code = manifest.code
    yield table(
        "Code",
        ("item", "value"),
        [
            ["commit", Value(code.commit, "with uncommitted changes" if code.dirty else "")],
            ["command", code.command],
            ["seed", str(code.seed)],
            ["started", manifest.started],
            ["finished", manifest.finished or "not finished"],
            ["results format", str(manifest.format)],
        ],
    )
    folds = (
        *(
            Fold(title=title, blocks=(table(title, ("setting", "value"), _rows(tree)),))
            for component, tree in manifest.settings.items()
            for title in (_SETTINGS.get(component, f"Settings: {component}"),)
        ),
        Fold(title="Options of the bench", blocks=tuple(_options(manifest))),
        Fold(title="Speed of each host before and after the trials", blocks=tuple(_canaries(manifest))),
        Fold(title="Duration of each stage", blocks=tuple(_stages(manifest))),
    )
    yield from (fold for fold in folds if fold.blocks)


def _rows(tree: object) -> list[list[str]]:
    return [[name, text] for name, text in _flat(tree, "")] or [["(none)", NOTHING]]


def _options(manifest: Manifest) -> Iterator[Table]:
    """Returns the options that were given; the others are at their defaults."""
    given = {name: value for name, value in manifest.options.items() if value not in (None, False, "", [])}
    if given:
        note = "Options that are not in this table had their defaults."
        yield table("Options that were given", ("option", "value"), _rows(given), note=note)
    if manifest.variants:
        rows = [
            [one.name, ", ".join(f"{key}={value}" for key, value in one.settings.items())] for one in manifest.variants
        ]
        yield table("Variants, the baseline first", ("variant", "settings"), rows)


def _canaries(manifest: Manifest) -> Iterator[Table]:
    """Returns the small measurements that tell whether hosts were equal, and whether they changed."""
    before, after = (manifest.canaries.get(when, {}) for when in ("before", "after"))
    metrics = list(dict.fromkeys(name for host in (*before.values(), *after.values()) for name in host))
    rows = [
        [
            host,
            *(
                f"{number(before.get(host, {}).get(name))} → {number(after.get(host, {}).get(name))}"
                for name in metrics
            ),
        ]
        for host in dict.fromkeys([*before, *after])
    ]
    if rows:
        note = "Before the trials → after them, in ms: a fixed piece of CPU work, an fsync, a round trip to the host."
        yield table("Canaries", ("host", *(name.replace("_ms", ", ms") for name in metrics)), rows, note=note)


def _stages(manifest: Manifest) -> Iterator[Table]:
    if manifest.stages:
        total = sum(manifest.stages.values())
        rows = [*([name, number(seconds)] for name, seconds in manifest.stages.items()), ["total", number(total)]]
        yield table("Duration of each stage", ("stage", "seconds"), rows)


_SETTINGS: Mapping[str, str] = {
    "postgres": "PostgreSQL settings that differ from their defaults",
    "app": "App settings",
    "haproxy": "HAProxy settings",
    "sqlite-naive": "Naive SQLite: pragmas as read back",
    "sqlite-tuned": "Tuned SQLite: pragmas as read back",
}


def _flat(tree: object, prefix: str) -> Iterator[tuple[str, str]]:
    """Returns the settings of a tree with dotted names."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
        return
    word = {True: "on", False: "off"}.get(tree) if isinstance(tree, bool) else None
    yield prefix or "value", word or (NOTHING if tree is None else str(tree))


def reproduction(manifest: Manifest) -> tuple[str, ...]:
    """Returns the commands that measure the same again, in order."""
    code, rig = manifest.code, manifest.rig
    hosts = sum(1 for host in rig.hosts if host.role == "app")
    command = code.command if "--seed" in code.command else f"{code.command} --seed {code.seed}"
    lines = [f"git checkout {code.commit}"]
    if hosts:
        name = "" if rig.name == "local" else f" --rig {rig.name}"
        lines.append(f"./run provision --provider {rig.provider} --hosts {hosts}{name}")
    return (*lines, command, "./run check")
