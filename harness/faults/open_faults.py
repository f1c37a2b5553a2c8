"""The faults of a rig that are injected and not healed yet: `.rigs/<name>/faults.json`.

An entry is written before its fault is injected and removed once the heal was seen, so the file outlives whatever
happens to the process that injects.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import FormatError
from harness.fault_record import PlannedFault
from harness.faults.base import Before
from harness.load.decode import decode
from harness.rig import state

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFault:
    """An injected fault and the state before it."""

    planned: PlannedFault
    before: Before


def path_of(rig: str) -> Path:
    """Returns the path of the rig's file, which exists only while a fault is open."""
    return state.folder(rig) / "faults.json"


class OpenFaults:
    """The open faults of a rig, read when this is built; safe for use by several threads.

    Raises FormatError for a file that is damaged or of another version.
    """

    def __init__(self, rig: str) -> None:
        self._path = path_of(rig)
        self._lock = threading.Lock()
        self._faults = _read(self._path)

    def all(self) -> Sequence[OpenFault]:
        """Returns the open faults in the order of their injection."""
        with self._lock:
            return tuple(self._faults)

    def add(self, planned: PlannedFault, before: Before) -> OpenFault:
        """Stores a fault that is about to be injected. Raises OSError where it cannot be stored."""
        opened = OpenFault(planned=planned, before=before)
        with self._lock:
            self._write([*self._faults, opened])
            self._faults.append(opened)
        return opened

    def remove(self, healed: OpenFault) -> None:
        """Removes a fault that is healed; the file goes with the last one."""
        with self._lock:
            self._faults = [one for one in self._faults if one is not healed]
            self._write(self._faults)

    def _write(self, faults: Sequence[OpenFault]) -> None:
        if faults:
            document = {"format": FORMAT, "faults": [asdict(one) for one in faults]}
            state.write_private(self._path, json.dumps(document, indent=2) + "\n")
        else:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> list[OpenFault]:
    hint = "./run heal undoes what it finds on the hosts without this file"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: damaged: {error}", hint=hint) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise FormatError(f"{path}: written by another version of pgcrucible", hint=hint)
    try:
        return [decode(OpenFault, one, "faults", strict=True) for one in document["faults"]]
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: damaged: {error}", hint=hint) from None
