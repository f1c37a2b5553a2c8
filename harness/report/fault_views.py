"""What the page shows of a trial with faults besides findings: its course, and stories of wrong requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.fault_timeline import Band, Event, Step, bands, steps, story
from harness.checks.fault_account import account
from harness.record import Evidence, Samples

MOST_STORIES = 3
"""Stories of each kind of error in a trial."""
KINDS: Mapping[str, str] = {
    "lost": "acknowledged, and not in the database",
    "doubled": "applied twice",
    "invented": "applied, and never sent",
    "false_aborted": "refused as surely not applied, and applied",
    "other_value": "answered with another value than was stored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The events of one request; `kind`: what is wrong with it, as a sentence's end."""

    ident: str
    kind: str
    events: Sequence[Event]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultView:
    """A trial with faults over time, and its first wrong requests."""

    steps: Sequence[Step] = ()
    bands: Sequence[Band] = ()
    stories: Sequence[Story] = ()


def fault_view(samples: Samples, evidence: Evidence) -> FaultView:
    """Returns the view of a trial; empty where no fault was planned."""
    if not evidence.faults:
        return FaultView()
    ids = account(samples, evidence, dead={each.partition(":")[0] for each in evidence.missing_hosts}).ids
    return FaultView(
        steps=steps(samples),
        bands=bands(samples, evidence),
        stories=[
            Story(ident=ident, kind=text, events=story(samples, evidence, ident))
            for kind, text in KINDS.items()
            for ident in ids.get(kind, ())[:MOST_STORIES]
        ],
    )
