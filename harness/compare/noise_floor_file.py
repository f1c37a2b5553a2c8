"""Reads and writes the noise floor of a rig: the result of `bench --aa N`, with the record of the rig at that time.

`between`: what separated the runs. A file without it was written by a version that compared halves of one session.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from harness.compare.environment import PlainData, differences
from harness.compare.noise_floor import with_largest
from harness.errors import RigError
from harness.rig import state
from harness.text import printable


def noise_floor(name: str, rig: PlainData) -> dict[str, float]:
    """Returns the noise floor stored for a rig, by metric and cell (see harness/compare/noise_floor.py).

    `rig` is the manifest's record of the rig as it is now. The result is empty where nothing was measured or the rig
    has changed since: other caps, hosts or versions have other noise. Raises RigError where the file is damaged.
    """
    path = state.RIGS / name / "noise_floor.json"
    if not state.is_name(name) or not path.exists():
        return {}
    try:
        stored = json.loads(path.read_text())
        if "rig" not in stored or any(one.forbids for one in differences({"rig": stored["rig"]}, {"rig": rig})):
            return {}
        return {str(key): _ratio(value) for key, value in stored["floor"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, OSError) as error:
        raise RigError(
            f"{path}: damaged: {printable(error, 200)}", hint="remove the file and measure again: ./run bench --aa 5"
        ) from None


def store_noise_floor(
    name: str, rig: PlainData, floor: Mapping[str, float], *, between: str = "none"
) -> dict[str, float]:
    """Stores a measured noise floor, keeps the stored one of other cells, and returns both together."""
    known = with_largest(noise_floor(name, rig) | dict(floor))
    text = json.dumps({"rig": dict(rig), "between": between, "floor": known}, indent=2)
    state.write_private(state.make_folder(name) / "noise_floor.json", text + "\n")
    return known


def _ratio(value: object) -> float:
    if type(value) not in (int, float) or not math.isfinite(ratio := float(str(value))):
        raise ValueError(f"{value!r} is not a ratio")
    return ratio
