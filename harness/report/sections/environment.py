"""What was measured on: hosts, settings, code, stages; and how to do it again. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.provision.providers import PROVIDERS
from harness.report.formatting import NOTHING, number, size
from harness.report.page_model import Table, Value, table
from harness.store.manifest import Manifest, RigRecord


def hosts_are_ours(rig: RigRecord) -> bool:
    """Whether pgcrucible created the hosts; assumed of a provider that is not known here."""
    return rig.provider not in PROVIDERS or PROVIDERS[rig.provider].MAKES_HOSTS


def shares_cores(rig: RigRecord) -> bool:
    """Whether hosts run on one machine: all that pgcrucible creates do, others if one kernel runs several of them.

    Virtual machines of another hypervisor cannot be told from machines.
    """
    kernels = [host.boot_id for host in rig.hosts if host.boot_id]
    return hosts_are_ours(rig) or len(set(kernels)) < len(kernels)


def environment_tables(manifest: Manifest) -> Iterator[Table]:
    """Hosts, then code and seed, then every setting by component, then how long each stage took."""
    rig = manifest.rig
    about = ", ".join(
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
    yield table(
        "Hosts",
        ("host", "role", "CPU cap, cores", "memory", "kernel", "CPU model", "versions"),
        [
            [
                host.name,
                host.role,
                f"{host.cpus:g}" if host.cpus else NOTHING,
                size(host.memory),
                host.kernel or NOTHING,
                host.cpu_model or NOTHING,
                ", ".join(f"{name} {version}" for name, version in host.versions.items()) or NOTHING,
            ]
            for host in rig.hosts
        ],
        note=about,
    )
    code = manifest.code
    yield table(
        "Code",
        ("what", "value"),
        [
            ["commit", Value(code.commit, "with changes that are not in the commit" if code.dirty else "")],
            ["command", code.command],
            ["seed", str(code.seed)],
            ["started", manifest.started],
            ["finished", manifest.finished or "not finished"],
            ["results format", str(manifest.format)],
        ],
    )
    for component, tree in manifest.settings.items():
        yield table(
            _SETTINGS.get(component, f"Settings: {component}"),
            ("setting", "value"),
            [[name, text] for name, text in _flat(tree, "")] or [["(none)", NOTHING]],
        )
    if manifest.stages:
        total = sum(manifest.stages.values())
        yield table(
            "Where the time went",
            ("stage", "seconds"),
            [*([name, number(seconds)] for name, seconds in manifest.stages.items()), ["together", number(total)]],
        )


_SETTINGS: Mapping[str, str] = {
    "postgres": "PostgreSQL: every setting that is not its default",
    "app": "App settings",
    "haproxy": "HAProxy settings",
    "sqlite-naive": "Naive SQLite: pragmas, as read back",
    "sqlite-tuned": "Tuned SQLite: pragmas, as read back",
}


def _flat(tree: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield (
            prefix or "value",
            {True: "on", False: "off", None: NOTHING}.get(tree, str(tree))
            if (tree is None or isinstance(tree, bool))
            else str(tree),
        )


def reproduction(manifest: Manifest) -> tuple[str, ...]:
    """The commands that measure the same again, in their order."""
    code, rig = manifest.code, manifest.rig
    hosts = sum(1 for host in rig.hosts if host.role == "app")
    command = code.command if "--seed" in code.command else f"{code.command} --seed {code.seed}"
    lines = [f"git checkout {code.commit}"]
    if hosts:
        name = "" if rig.name == "local" else f" --rig {rig.name}"
        lines.append(f"./run provision --provider {rig.provider} --hosts {hosts}{name}")
    return (*lines, command, "./run check")
