"""Groups texts that differ only in the cell and the figures: one sentence with their number and ranges. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.host_drift import CANARIES
from harness.report.formatting import NOTHING, number, spaced
from harness.text import plural

DOUBTFUL = "times are doubtful: "
CHANGED = "hosts changed during the trials: "
_OTHERS = re.compile(
    r"(other programs used [\d.]+ ?% of the CPU) of the machine of .*?( \(limit [\d.]+ ?%\))"
    r"(?:: end them, or measure when the machine is quiet)?"
)
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?(?!\.?\d)")
_FIGURE = r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_CHANGE = re.compile(rf"(\S+) {_FIGURE} ms, then {_FIGURE} ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A text and what it is about: the name of a cell, or nothing. `limits`: whether it limits a shown figure."""

    text: str
    about: str = ""
    limits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Texts of one cause, in their order."""

    members: tuple[Said, ...]

    @property
    def cells(self) -> int:
        """The number of cells that the texts are about."""
        return len({one.about for one in self.members if one.about})

    @property
    def cause(self) -> str:
        """The text of all members: a figure in which they differ is a range."""
        return _merged([brief(one.text) for one in self.members])


def grouped(texts: Iterable[Said]) -> tuple[Group, ...]:
    """Returns the texts by cause, in the order of the first of each. Texts without a cell are grouped if equal."""
    groups: dict[object, list[Said]] = {}
    for one in texts:
        if one.text.startswith(CHANGED):
            key: object = CHANGED
        else:
            key = tuple(_NUMBER.split(brief(one.text))) if one.about else one.text
        groups.setdefault(key, []).append(one)
    return tuple(Group(members=tuple(members)) for members in groups.values())


def causes(text: str) -> list[str]:
    """Returns the causes for which times are doubtful, each with `DOUBTFUL`; other texts unchanged."""
    return re.split(rf"; (?={DOUBTFUL})", text)


def hosts_changed(texts: Sequence[str]) -> str:
    """Returns `hosts changed during the trials: fsync on 5 hosts, by at most 3.2x`, over all canaries."""
    parts = []
    for word in CANARIES.values():
        of_word = [text for text in texts if text.startswith(f"{CHANGED}{word} ")]
        pairs = {host: (float(a), float(b)) for text in of_word for host, a, b in _CHANGE.findall(text)}
        ratios = [max(pair) / min(pair) for pair in pairs.values() if min(pair) > 0 and max(pair) < math.inf]
        if pairs:
            most = f", by at most {number(max(ratios))}x" if ratios else ""
            parts.append(f"{word} on {plural(len(pairs), 'host')}{most}")
    return f"{CHANGED}{'; '.join(parts)}" if parts else texts[0]


def brief(text: str) -> str:
    """Returns the text without the hosts of a machine and the advice, which are in the details of a notice."""
    return _OTHERS.sub(r"\1\2", text)


def _merged(texts: Sequence[str]) -> str:
    columns = list(zip(*(_NUMBER.findall(text) for text in texts), strict=True))
    ranges = iter([_range(column) for column in columns])
    merged = _NUMBER.sub(lambda _: next(ranges), texts[0])
    return spaced(merged)


def _range(values: Sequence[str]) -> str:
    ordered = sorted(dict.fromkeys(values), key=lambda value: float(value.replace(",", "")))
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]}{NOTHING}{ordered[-1]}"
