"""The drawing of the rig: its hosts, caps and versions, and names from a file that stay text."""

from __future__ import annotations

import re

import pytest

from harness.report.charts.drawing import checked
from harness.report.charts.rig import rig_drawing, rig_words, version_of
from harness.store.manifest import HostRecord, RigRecord
from tests.support.builders import RIG


def texts(drawing: str) -> list[str]:
    return re.findall(r">([^<]+)</text>", drawing)


def test_it_shows_number_cap_memory_and_version_of_each_role() -> None:
    drawing = checked(rig_drawing(RIG, shared_cores=True))
    shown = texts(drawing)
    for text in (
        "PostgreSQL",
        "15.13",
        "1 core",
        "Service",
        "4 hosts",
        "0.25 cores each",
        "HAProxy",
        "2.6.12",
        "512 MiB",
    ):
        assert text in shown
    assert shown[0].startswith("containers that share the cores of one machine, AMD EPYC 7B13, kernel 6.1")
    assert drawing.count('width="22"') == 4
    assert "Service: 4 hosts, 0.25 cores each, 512 MiB, Python 3.11.2" in rig_words(RIG, shared_cores=True)


def test_many_hosts_are_counted_and_some_are_drawn() -> None:
    apps = [HostRecord(name=f"app-{n}", role="app", cpus=0.25 + n % 2, memory=2**28, kernel="6.1") for n in range(64)]
    drawing = rig_drawing(RigRecord(name="lab", provider="static", hosts=apps), shared_cores=False)
    assert "64 hosts" in texts(drawing)
    assert "0.25 to 1.25 core…" in texts(drawing)
    assert drawing.count('width="22"') == 12


def test_a_run_without_hosts_has_no_drawing() -> None:
    assert rig_drawing(RigRecord(name="", provider="url"), shared_cores=False) == ""


def test_names_from_a_file_stay_text() -> None:
    hosts = [
        HostRecord(name="x", role="db", cpus=0, memory=0, kernel="</text><script>", versions={"postgresql": "<b>"})
    ]
    drawing = rig_drawing(RigRecord(name="x", provider="<i>", hosts=hosts), shared_cores=False)
    assert checked(drawing) == drawing
    assert "CPU not capped" in drawing


@pytest.mark.parametrize(
    ("version", "shown"),
    [("15.20-0+deb12u1", "15.20"), ("1:9.2p1-2+deb12u10", "9.2p1"), ("3.11.2-1+b1", "3.11.2"), ("17.12", "17.12")],
)
def test_version_is_without_the_part_of_the_distribution(version: str, shown: str) -> None:
    host = HostRecord(name="db", role="db", cpus=1, memory=1, kernel="", versions={"postgresql-15": version})
    assert version_of([host], "postgresql") == shown
