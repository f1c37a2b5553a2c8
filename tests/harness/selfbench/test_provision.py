"""The provisioning benchmark: figures by table, and the end of its rig."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.rig import state
from harness.selfbench import provision as bench
from harness.selfbench.provision import ProvisionTime

WARM = ProvisionTime(seconds=41.256, changed=88, stages={"doctor": 0.3, "hosts": 3.0, "site": 30.0, "verify": 5.0})
AGAIN = replace(WARM, seconds=17.0, changed=0)


def test_every_kind_of_every_size_is_a_figure() -> None:
    times = {("warm", 8): WARM, ("unchanged", 8): AGAIN, ("cold", 8): replace(WARM, seconds=101.0)}
    figures = bench.entries(times)
    assert len(figures) == 3 * len(bench.APP_HOSTS)
    warm, again = figures["provision.warm_8_s"], figures["provision.unchanged_8_s"]
    assert (warm["value"], warm["unit"], warm["target"]) == (41.256, "s", "<= 60")
    assert warm["detail"] == "changed=88 on 11 hosts; longest: site 30.0 s, verify 5.0 s, hosts 3.0 s"
    assert (again["value"], again["target"]) == (17.0, "<= 20")
    assert figures["provision.cold_8_s"]["value"] == 101.0


@pytest.mark.parametrize(
    ("kind", "taken", "reason"),
    [
        ("unchanged", replace(AGAIN, changed=2), "the second provision made 2 changes"),
        ("warm", replace(WARM, changed=0), "the provision changed nothing"),
        ("warm", None, "the benchmark ended before"),
        ("cold", None, "--cold was not given"),
    ],
)
def test_a_provision_of_another_kind_is_no_figure(kind: str, taken: ProvisionTime | None, reason: str) -> None:
    figure = bench.entries({(kind, 8): taken} if taken else {})[f"provision.{kind}_8_s"]
    assert (figure["value"], figure["detail"]) == (None, f"not measured: {reason}")


def test_an_interrupted_benchmark_destroys_its_rig() -> None:
    before = signal.getsignal(signal.SIGTERM)
    names = []

    def interrupted() -> None:
        with bench._temporary_rig() as name:
            names.append(name)
            assert state.make_folder(name).is_dir()
            assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGHUP) is signal.default_int_handler
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)  # the signal comes before

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not state.folder(names[0]).exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_completed_measurements_are_kept_if_a_later_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(rig: str, *, cold: bool):
        yield ("warm", 1), WARM
        raise RigError("no memory is left")

    monkeypatch.setattr(bench, "_measure", measure)
    with pytest.raises(RigError, match="no memory"):
        bench.main(tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["provision.warm_1_s"]["value"] == 41.256
    assert figures["provision.warm_8_s"]["value"] is None
    printed = capsys.readouterr().out
    assert "warm       1 app hosts    41.3 s: doctor 0.3, hosts 3.0, site 30.0, verify 5.0" in printed
    assert all(name in printed for name in figures)
