"""Faults as data: what a schedule plans, and what became of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NOT_WATCHED = "was not watched"
"""After the name of what was to be watched, in the problem of a record whose instants are not complete."""

PERHAPS = "perhaps: "
"""How `FaultRecord.helped` begins where it is not known whether the heal had to do something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFault:
    """One fault of a trial's schedule (harness/plan/fault_schedule.py)."""

    fault: str
    """Name in harness/plan/fault_schedule.py, such as `db-crash`."""
    at_s: float
    """Seconds from the release of the load to the injection."""
    hold_s: float
    """Seconds from the injection to the heal."""
    host: int = 0
    """Which host of the fault's role it hits, counted from 0: of the app hosts one that serves. A role with fewer hosts
    takes the remainder."""
    idle: bool = False
    """Negative control: the injection does nothing, so it must not be seen to have happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRecord:
    """What became of a planned fault. Times are on the clock of the trial's samples; None: that did not happen."""

    planned: PlannedFault
    hosts: tuple[str, ...] = ()
    injected_us: int | None = None
    """When the injection began."""
    healing_us: int | None = None
    """When the heal began."""
    healed_us: int | None = None
    """When the heal was seen to have worked."""
    seen: str = ""
    """What showed that the fault happened: `pid 812 became 944`. Empty: nothing did, see `problem`."""
    healed: str = ""
    """What showed that the heal worked. Empty: nothing did, see `problem`."""
    helped: str = ""
    """What the heal had to do because the rig did not recover by itself, where the fault is over at once: a crash.
    Begins with PERHAPS where a heal did not answer, and a later one found nothing to do."""
    problem: str = ""
    """Why it was not injected, seen or healed within its deadlines; empty where all went well."""
    left: str = ""
    """What may be left of it although it was seen to be healed: it was not removed, or its injection went on."""
    observed_us: Mapping[str, int] = field(default_factory=dict)
    """Instants that criteria need (harness/faults/observations.py): `out-of-rotation`, `in-rotation` (HAProxy's state
    of the host, the second for good), `out-again` (it had been back), `watched-until` (end of that watch), `accepts`
    (the database accepts connections again)."""

    def watched(self, what: str) -> bool:
        """Whether the states of `what`, `haproxy` or `postgres`, are complete, as far as the record has them."""
        return f"{what} {NOT_WATCHED}" not in self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line that a part of the rig logged while a trial with faults ran, on the clock of the trial's samples."""

    at_us: int
    host: str
    unit: str
    text: str
