"""The file of open faults: private, gone with the last fault, and refused where it is damaged."""

from __future__ import annotations

import json
import stat

import pytest

from harness.errors import FormatError
from harness.fault_record import PlannedFault
from harness.faults.open_faults import OpenFaults, path_of
from tests.support.fake_rig import FakeRig

PLANNED = PlannedFault(fault="app-pause", at_s=1.0, hold_s=5.0, host=1)


def test_open_faults_survive_the_process_and_go_with_the_last_one(rig: FakeRig) -> None:
    path = path_of(rig.name)
    opened = OpenFaults(rig.name)
    assert not path.exists()
    first, second = opened.add(PLANNED, {"pid": "1"}), opened.add(PLANNED, {"pid": "2"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(OpenFaults(rig.name).all()) == [first, second]
    opened.remove(first)
    assert list(OpenFaults(rig.name).all()) == [second]
    again = OpenFaults(rig.name)
    again.remove(again.all()[0])
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "damaged"),
        ("[]", "another version"),
        (json.dumps({"format": 2, "faults": []}), "another version"),
        (json.dumps({"format": 1}), "damaged"),
        (json.dumps({"format": 1, "faults": 3}), "damaged"),
        (json.dumps({"format": 1, "faults": [{"before": {}}]}), "damaged: faults: planned is missing"),
        (json.dumps({"format": 1, "faults": [{"planned": {"fault": "x", "at_s": "soon"}}]}), "damaged"),
    ],
)
def test_a_damaged_file_is_refused(rig: FakeRig, text: str, reason: str) -> None:
    path_of(rig.name).write_text(text)
    with pytest.raises(FormatError, match=reason) as caught:
        OpenFaults(rig.name)
    assert "./run heal" in caught.value.hint
