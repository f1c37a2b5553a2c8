"""Warnings of a run: those that limit a claim of the first screen are shown, the others are counted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.run_summary import RunSummary
from harness.report.tiles import Tile

ALWAYS = ("aborted: ",)
"""How a warning begins that limits every claim."""
ABOUT_HOSTS = ("hosts changed during", "app hosts differ")
"""Parts of warnings that limit every figure about time."""
MOST_SHOWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """`limiting`: what a reader of the first screen must know; `others`: the rest, folded to a count."""

    limiting: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()


def notices(summary: RunSummary, shown: Sequence[Tile], damage: Sequence[str]) -> Notices:
    """Returns the warnings of a run. What damaged files cost always limits the page."""
    manifest = summary.run.manifest
    labels = {cell: label for one in summary.scenarios for cell, label in one.labels.items()}
    limiting, others = list(damage), list[str]()
    for warning in manifest.warnings:
        (limiting if _limits(warning, shown) else others).append(with_labels(warning, labels))
    return Notices(
        limiting=tuple(limiting[:MOST_SHOWN]),
        others=(*limiting[MOST_SHOWN:], *others),
        skipped=tuple(manifest.skipped.items()),
    )


def with_labels(text: str, labels: Mapping[str, str]) -> str:
    """Replaces names of cells by the scenario and the label, longest names first."""
    for cell in sorted(labels, key=len, reverse=True):
        text = text.replace(cell, f"{cell.split('.')[0]} ({labels[cell]})")
    return text


def _limits(warning: str, shown: Sequence[Tile]) -> bool:
    """Whether a warning is about all claims, about the hosts' speed, or about a cell that a tile is of."""
    timed = any(tile.cells and tile.state != "not measured" for tile in shown[1:])
    return (
        warning.startswith(ALWAYS)
        or (timed and any(words in warning for words in ABOUT_HOSTS))
        or any(warning.startswith(f"{cell}:") for tile in shown for cell in tile.cells)
    )
