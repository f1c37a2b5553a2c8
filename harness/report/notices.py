"""Warnings of a run by cause: those that limit a claim of the first screen are shown, the others counted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.report.run_summary import RunSummary
from harness.report.tiles import Tile
from harness.report.warning_groups import CHANGED, DOUBTFUL, Group, Said, brief, causes, grouped, hosts_changed
from harness.store.manifest import Manifest
from harness.text import plural

ALWAYS = ("aborted: ",)
"""How a warning begins that limits every claim."""
ABOUT_HOSTS = ("hosts changed during", "app hosts differ")
"""Parts of warnings that limit every figure about time."""
MOST_SHOWN = 2
MOST_HOSTS = 2
"""Changed hosts of a sentence that names them; more are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence, and the warnings that it summarises; without `details` it is the warning itself."""

    text: str
    details: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in full."""
        return self.details or (self.text,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """`limiting`: what a reader of the first screen must know; `others`: the rest, folded to a count.

    The first `folded` of `others` limit a claim too; there is no room for them.
    """

    limiting: tuple[Notice, ...] = ()
    others: tuple[Notice, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    folded: int = 0


def notices(summary: RunSummary, shown: Sequence[Tile], damage: Sequence[str]) -> Notices:
    """Returns the warnings of a run. What damaged files cost always limits the page."""
    manifest = summary.run.manifest
    labels = labels_of(summary)
    limiting, others = [Notice(text=text) for text in [*_gate(manifest), *damage]], list[Notice]()
    for group in grouped(_said(manifest.warnings, labels, shown)):
        (limiting if any(one.limits for one in group.members) else others).append(_notice(group, labels))
    return Notices(
        limiting=tuple(limiting[:MOST_SHOWN]),
        others=(*limiting[MOST_SHOWN:], *others),
        skipped=tuple(manifest.skipped.items()),
        folded=len(limiting[MOST_SHOWN:]),
    )


def _gate(manifest: Manifest) -> list[str]:
    gate = manifest.gate
    if gate is None or gate.code == 0:
        return []
    return [f"bench ended with code {gate.code}: --fail-if {gate.fail_if}: {gate.sentence}"]


def brief_warnings(summary: RunSummary) -> list[str]:
    """Returns a sentence per cause of the warnings, then one per cause of invalid trials."""
    labels = labels_of(summary)
    warnings = [_notice(group, labels).text for group in grouped(_said(summary.run.manifest.warnings, labels))]
    invalid = grouped(
        Said(text=reason, about=f"{scenario.name}, {cell.label}")
        for scenario in summary.scenarios
        for cell in scenario.cells
        for reason in cell.reasons
    )
    for group in invalid:
        first = group.members[0]
        if len(group.members) == 1:
            warnings.append(f"invalid: {first.about}: {brief(first.text)}")
        else:
            warnings.append(f"invalid trials of {plural(group.cells, 'cell')}: {group.cause}")
    return warnings


def labels_of(summary: RunSummary) -> Mapping[str, str]:
    """Returns the labels of all cells of a run by their names."""
    return {cell: label for one in summary.scenarios for cell, label in one.labels.items()}


def with_labels(text: str, labels: Mapping[str, str]) -> str:
    """Replaces names of cells by the scenario and the label, longest names first."""
    for cell in sorted(labels, key=len, reverse=True):
        text = text.replace(cell, f"{cell.split('.')[0]} ({labels[cell]})")
    return text


def _said(warnings: Iterable[str], labels: Mapping[str, str], shown: Sequence[Tile] = ()) -> Iterable[Said]:
    """Returns each cause of each warning, with the name of its cell where it begins with one."""
    for warning in warnings:
        limits = _limits(warning, shown)
        cell, colon, rest = warning.partition(": ")
        if colon and cell in labels:
            yield from (Said(text=cause, about=cell, limits=limits) for cause in causes(rest))
        else:
            yield Said(text=warning, limits=limits)


def _notice(group: Group, labels: Mapping[str, str]) -> Notice:
    first, several = group.members[0], len(group.members) > 1
    in_full = tuple(with_labels(f"{one.about}: {one.text}" if one.about else one.text, labels) for one in group.members)
    if first.text.startswith(CHANGED):
        several = several or first.text.count(";") >= MOST_HOSTS
        return (
            Notice(text=hosts_changed([one.text for one in group.members]), details=in_full)
            if several
            else Notice(text=in_full[0])
        )
    if not several or not first.about:
        short = brief(in_full[0])
        return Notice(text=short, details=() if short == in_full[0] else in_full[:1])
    if first.text.startswith(DOUBTFUL):
        text = f"times of {plural(group.cells, 'cell')} are doubtful: {group.cause.removeprefix(DOUBTFUL)}"
    else:
        text = f"{plural(group.cells, 'cell')}: {group.cause}"
    return Notice(text=text, details=in_full)


def _limits(warning: str, shown: Sequence[Tile]) -> bool:
    """Whether a warning is about all claims, about the hosts' speed, or about a cell that a tile is of."""
    timed = any(tile.cells and tile.state != "not measured" for tile in shown[1:])
    return (
        warning.startswith(ALWAYS)
        or (timed and any(words in warning for words in ABOUT_HOSTS))
        or any(warning.startswith(f"{cell}:") for tile in shown for cell in tile.cells)
    )
