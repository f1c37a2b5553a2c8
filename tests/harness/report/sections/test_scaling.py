"""Scaling on the page: speed-up and efficiency by hosts; a prediction only if hosts do not share cores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.model import Cell
from harness.report.page_model import Picture, Table
from harness.store.manifest import HostRecord, RigRecord
from harness.store.rig_cores import has_own_cores, shares_cores
from tests.support.builders import RIG, Made, store
from tests.support.pages import blocks_of, page_of

DASH = "\N{EN DASH}"


def trials(rates: Mapping[int, int], each: int = 6, *, noise: int = 0, **params: str) -> list[Made]:
    """Returns `each` trials of one second per number of hosts, at its rate plus up to `noise` requests/s."""
    return [
        Made(
            cell=Cell(scenario="scaling", hosts=n, clients=4 * n, params={"bound": "pool"} | params),
            ok=rate + noise * number // each,
            seconds=1.0,
            number=number,
        )
        for n, rate in rates.items()
        for number in range(1, each + 1)
    ]


def shown(root: Path, made: list[Made], rig: RigRecord = RIG) -> tuple[list[tuple[str, ...]], str]:
    """Returns the rows of the table of speed-ups, and the caption of the chart."""
    (section,) = page_of(store(root, made, rig=rig)).sections
    tables = [b for b in blocks_of(section) if isinstance(b, Table) and b.caption.startswith("Speed-up by app hosts")]
    captions = [b.caption for b in blocks_of(section) if isinstance(b, Picture) and "One point per trial" in b.caption]
    rows = [tuple(value.text for value in row) for table in tables for row in table.rows]
    return rows, " ".join(captions)


def test_each_number_of_hosts_has_its_speed_up_and_efficiency(tmp_path: Path) -> None:
    rows, _ = shown(tmp_path, [*trials({1: 40, 4: 120}), *trials({2: 70}, each=3)])
    assert rows == [
        ("1", "40.0", "1.00", DASH, "100 %"),
        ("2", "70.0", "1.75", DASH, "88 %"),
        ("4", "120", "3.00", "3.00 to 3.00", "75 %"),
    ]


def test_each_variant_has_its_speed_ups(tmp_path: Path) -> None:
    rows, _ = shown(
        tmp_path, [*trials({1: 40, 4: 120}, variant="A", app_x="1"), *trials({1: 40, 4: 80}, variant="B", app_x="2")]
    )
    assert [row[2] for row in rows] == ["1.00", "3.00", "1.00", "2.00"]


def test_no_speed_up_without_one_host_or_with_one_host_only(tmp_path: Path) -> None:
    assert shown(tmp_path / "a", trials({2: 70, 4: 120}))[0] == []
    assert shown(tmp_path / "b", trials({1: 70}))[0] == []


def machines(kernel: Callable[[int], str], provider: str = "static") -> RigRecord:
    hosts = [
        HostRecord(name=f"app-{n}", role="app", cpus=4, memory=2**30, kernel="6.1", boot_id=kernel(n)) for n in range(8)
    ]
    return RigRecord(name="lab", provider=provider, hosts=hosts)


def test_own_cores_must_be_known() -> None:
    assert has_own_cores(machines(str))
    for rig in (machines(lambda _: ""), machines(lambda n: str(min(n, 6))), machines(str, "podman")):
        assert not has_own_cores(rig)
    assert not has_own_cores(RigRecord(name="", provider="url", hosts=[]))


@pytest.mark.parametrize(
    ("rig", "shared"),
    [
        (machines(str), False),
        (machines(lambda _: ""), False),
        (machines(lambda n: str(min(n, 6))), True),
        (machines(str, "podman"), True),
        (machines(str, "vm"), True),
    ],
)
def test_prediction_only_if_hosts_do_not_share_cores(tmp_path: Path, rig: RigRecord, *, shared: bool) -> None:
    assert shares_cores(rig) == shared
    law = {n: round(60 * n / (1 + 0.05 * (n - 1))) for n in (1, 2, 3, 4, 6, 8)}
    _, caption = shown(tmp_path, trials(law, each=2, noise=2), rig)
    assert ("no peak and no prediction: the hosts share cores" in caption) == shared
    assert ("; prediction for 16 hosts: 5" in caption) != shared
