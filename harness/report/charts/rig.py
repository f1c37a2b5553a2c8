"""The drawing of the rig: from the load over HAProxy and the app hosts to PostgreSQL, with caps and versions. Pure.

It is SVG text, because it is boxes and not a chart of figures. All text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from harness.report.charts.theme import BLUE, BOX, INK, PICTURE, QUIET
from harness.report.formatting import size
from harness.store.manifest import HostRecord, RigRecord
from harness.text import plural, printable

HEIGHT, MIDDLE = 214, 94
"""Height of the drawing in px, and the row on which the boxes are centred."""
COLUMNS = {"load": (10, 92), "lb": (128, 100), "app": (254, 124), "db": (404, 106)}
"""Role -> left edge and width of its box in px."""
NAMES = {"load": "Load", "lb": "HAProxy", "app": "Service", "db": "PostgreSQL"}
PACKAGES = {"load": "python", "lb": "haproxy", "app": "python", "db": "postgresql"}
"""Role -> how the name of the package begins whose version is shown."""
MOST_DRAWN = 12
"""App hosts that are drawn as boxes; the number above them is of all."""
LONGEST = 18
"""Characters of a line of a box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """The hosts of one role in words."""

    title: str
    lines: tuple[str, ...]


def rig_drawing(rig: RigRecord, *, shared_cores: bool) -> str:
    """Returns the drawing as SVG, `PICTURE` px wide; empty for a run that knows no hosts."""
    if not rig.hosts:
        return ""
    parts = {role: _part(role, [host for host in rig.hosts if host.role == role]) for role in COLUMNS}
    shapes = [_frame(_machine(rig, shared_cores=shared_cores), dashed=shared_cores)]
    shown = [role for role in COLUMNS if any(host.role == role for host in rig.hosts)]
    for role in shown:
        apps = [host for host in rig.hosts if host.role == role] if role == "app" else []
        shapes += _box(role, parts[role], len(apps))
    shapes += [_arrow(left, right) for left, right in pairwise(shown)]
    return f'<svg viewBox="0 0 {PICTURE} {HEIGHT}" width="{PICTURE}" height="{HEIGHT}">{"".join(shapes)}</svg>'


def rig_words(rig: RigRecord, *, shared_cores: bool) -> str:
    """Returns the drawing in words, for readers who do not see it."""
    hosts = {role: [host for host in rig.hosts if host.role == role] for role in COLUMNS}
    parts = [_part(role, of) for role, of in hosts.items() if of]
    return "; ".join(
        [*(f"{part.title}: {', '.join(part.lines)}" for part in parts), _machine(rig, shared_cores=shared_cores)]
    )


def version_of(hosts: Iterable[HostRecord], package: str) -> str:
    """Returns the version of the package whose name begins so, without the distribution's part; empty if unknown."""
    found = [text for host in hosts for name, text in host.versions.items() if name.startswith(package)]
    return re.sub(r"^\d+:|[-+~].*$", "", found[0]) if found else ""


def _part(role: str, hosts: Sequence[HostRecord]) -> _Part:
    version = version_of(hosts, PACKAGES[role])
    language = {"load": "Python ", "app": "Python "}.get(role, "")
    number = plural(len(hosts), "host") if len(hosts) != 1 or role in ("load", "app") else ""
    caps, memory = _range([host.cpus for host in hosts]), _sizes([host.memory for host in hosts])
    each = " each" if len(hosts) > 1 else ""
    lines = (number, f"{caps}{each}" if caps else "CPU not capped", memory, f"{language}{version}" if version else "")
    return _Part(title=NAMES[role], lines=tuple(line for line in lines if line))


def _range(caps: Sequence[float]) -> str:
    """Returns `0.25 cores`, or `0.25 to 1 cores` where hosts differ; empty without a cap."""
    known = sorted({cap for cap in caps if cap > 0})
    if not known:
        return ""
    word = "core" if known == [1.0] else "cores"
    return f"{known[0]:g} {word}" if len(known) == 1 else f"{known[0]:g} to {known[-1]:g} {word}"


def _sizes(octets: Sequence[int]) -> str:
    known = sorted({value for value in octets if value > 0})
    if not known:
        return ""
    return size(known[0]) if len(known) == 1 else f"{size(known[0])} to {size(known[-1])}"


def _machine(rig: RigRecord, *, shared_cores: bool) -> str:
    """Returns what the hosts run on, such as `podman containers on one machine, AMD EPYC, kernel 6.1`."""
    models = sorted({host.cpu_model for host in rig.hosts if host.cpu_model})
    kernels = sorted({host.kernel for host in rig.hosts if host.kernel})
    kind = {"podman": "containers", "vm": "virtual machines"}.get(rig.provider, "machines")
    where = f"{kind} that share the cores of one machine" if shared_cores else f"{kind} ({rig.provider})"
    processor = models[0] if len(models) == 1 else f"{plural(len(models), 'CPU model')}" * bool(models)
    return ", ".join(filter(None, (where, processor, f"kernel {kernels[0]}" if len(kernels) == 1 else "")))


def _text(x: float, y: float, text: str, *, size: int = 12, colour: str = INK, bold: bool = False) -> str:
    shown = printable(text)
    cut = shown if len(shown) <= LONGEST or size > 12 else f"{shown[: LONGEST - 1]}…"
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="middle" '
        f'fill="{colour}"{weight}>{escape(cut)}</text>'
    )


def _frame(about: str, *, dashed: bool) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    shown = printable(about)
    shown = shown if len(shown) <= 84 else f"{shown[:83]}…"
    return (
        f'<rect x="1" y="1" width="{PICTURE - 2}" height="{HEIGHT - 2}" rx="8" fill="none" stroke="{QUIET}"{dashes}/>'
        f'<text x="{PICTURE / 2:g}" y="{HEIGHT - 10}" font-size="11" text-anchor="middle" '
        f'fill="{QUIET}">{escape(shown)}</text>'
    )


def _box(role: str, part: _Part, apps: int) -> list[str]:
    """Returns the box of a role; below the words of the app hosts one small box for each."""
    left, width = COLUMNS[role]
    centre = left + width / 2
    rows = _grid(apps, left, width) if apps else []
    height = 34 + 17 * len(part.lines) + (12 + 18 * (1 + (min(apps, MOST_DRAWN) - 1) // 4) if apps else 0)
    top = MIDDLE - height / 2
    shapes = [
        f'<rect x="{left}" y="{top:g}" width="{width}" height="{height}" rx="6" fill="{BOX}" stroke="{QUIET}"/>',
        _text(centre, top + 22, part.title, size=14, bold=True),
        *(_text(centre, top + 41 + 17 * row, line) for row, line in enumerate(part.lines)),
    ]
    begin = top + 36 + 17 * len(part.lines)
    shapes += [
        f'<rect x="{x:g}" y="{begin + y:g}" width="22" height="14" rx="2" fill="{BLUE}"/>' for x, y in rows
    ]  # fmt: skip
    return shapes


def _grid(apps: int, left: float, width: float) -> list[tuple[float, float]]:
    """Returns left and top of each small box, four a row, each row centred."""
    drawn = min(apps, MOST_DRAWN)
    places: list[tuple[float, float]] = []
    for number in range(drawn):
        row, column = divmod(number, 4)
        of_row = min(4, drawn - 4 * row)
        begin = left + width / 2 - (26 * of_row - 4) / 2
        places.append((begin + 26 * column, 18 * row))
    return places


def _arrow(left: str, right: str) -> str:
    begin, end = sum(COLUMNS[left]) + 2, COLUMNS[right][0] - 3
    return (
        f'<path d="M{begin},{MIDDLE:g}H{end - 6}" stroke="{QUIET}" stroke-width="2" fill="none"/>'
        f'<path d="M{end},{MIDDLE:g}l-7,-4v8Z" fill="{QUIET}"/>'
    )
