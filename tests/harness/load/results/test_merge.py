from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InvalidMeasurement
from harness.load.coordinator import Coordinator
from harness.load.generator_checks import reasons
from harness.load.results import histogram, outcome_counts
from harness.load.results.merge import HISTOGRAMS, merge, merge_seconds, over_lanes, time_shifts, write
from harness.load.results.samples import read_samples, sample_file
from harness.load.results.summary import Clock
from harness.load.spec import Warmup
from harness.record import Samples
from tests.support.summaries import histogram_of, lane_summary, phase, window

from ..conftest import INCREMENT, AgentProcess, Handler, LoopbackServer, Request, counted, job_dict, run_job

Serve = Callable[[Handler], Awaitable[LoopbackServer]]
Start = Callable[[dict[str, Any] | str], Awaitable[AgentProcess]]


async def count_up(request: Request, writer: asyncio.StreamWriter) -> bool | None:
    await asyncio.sleep(0.001 * (1 + request.number % 7))
    writer.write(counted(request.number + 1))
    return None


def samples_of(folder: Path) -> Samples:
    file = sample_file(folder)
    assert file
    return read_samples(file)


async def lead(
    agents: list[AgentProcess], coordinator: Coordinator, kill: int | None = None
) -> dict[int, dict[str, Any]]:
    """Releases agents that are all ready and ends their warm-up, as the controller does; returns their summaries."""
    ready: set[int] = set()
    summaries: dict[int, dict[str, Any]] = {}

    def send(line: str) -> None:
        for other in agents:
            other.tell(line)

    async def follow(number: int) -> None:
        output = agents[number].process.stdout
        assert output
        while line := await asyncio.wait_for(output.readline(), 60):
            event = json.loads(line)
            if event["event"] == "ready":
                ready.add(number)
                if len(ready) == len(agents):
                    send("go")
            if event["event"] == "done":
                summaries[number] = event["summary"]
            if command := coordinator.handle(number, event):
                send(command)
            if event["event"] == "progress" and number == kill:
                agents[number].process.kill()

    await asyncio.gather(*(follow(number) for number in range(len(agents))))
    return summaries


async def test_two_load_hosts_are_merged(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    agents = [
        await agent(
            job_dict(
                server.port,
                tmp_path / f"load-{i}",
                mode="open",
                rate=301.0,
                seconds=2.0,
                clients=20,
                host_index=i,
                host_count=2,
                load_host=f"load-{i}",
            )
        )
        for i in range(2)
    ]
    assert len(await lead(agents, Coordinator(2, None))) == 2
    folders = [tmp_path / "load-0", tmp_path / "load-1"]
    summary = merge(folders, tmp_path / "both")
    parts, both = [samples_of(folder) for folder in folders], samples_of(tmp_path / "both")
    latencies = [done - due for part in parts for done, due in zip(part.done_us, part.due_us, strict=True)]
    assert histogram.decode((tmp_path / "both" / "latency.hgrm").read_text()) == histogram_of(latencies)
    assert summary.latency_ms.p50_ms == (histogram.quantiles_us(histogram_of(latencies), [0.5])[0] or 0) / 1000
    assert sorted(both.seq) == list(range(602))
    assert list(both.done_us) == sorted(both.done_us)
    assert set(both.load_host) == {"load-0", "load-1"}
    assert summary.measure.ok == summary.latency_ms.count == server.requests == 602
    assert summary.offered_rate == 301
    assert summary.clock_shared is True
    rows = [line.split(",") for line in (tmp_path / "both" / "timeline.csv").read_text().splitlines()[1:]]
    assert sum(int(row[2]) for row in rows) == 602
    assert [row[0] for row in rows] == sorted({row[0] for row in rows}, key=int)


async def test_a_killed_load_host_invalidates_the_trial(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    agents = [
        await agent(job_dict(server.port, tmp_path / f"load-{i}", seconds=2.5, clients=6, host_index=i, host_count=3))
        for i in range(3)
    ]
    assert sorted(await lead(agents, Coordinator(3, None), kill=2)) == [0, 1]
    with pytest.raises(InvalidMeasurement, match=r"not complete: load-2/summary.json"):
        merge([tmp_path / f"load-{i}" for i in range(3)], tmp_path / "all")


async def test_hosts_warm_up_together(serve: Serve, agent: Start, tmp_path: Path) -> None:
    server = await serve(count_up)
    warmup = {"seconds": 1.0, "max_seconds": 1.0}
    agents = [
        await agent(
            job_dict(server.port, tmp_path / f"{i}", clients=2, seconds=1.0, warmup=warmup, host_index=i, host_count=2)
        )
        for i in range(2)
    ]
    summaries = await lead(agents, Coordinator(2, Warmup(**warmup)))
    assert [summary["measure_from_us"] for summary in summaries.values()] == [2_000_000] * 2
    summary = merge([tmp_path / "0", tmp_path / "1"], tmp_path / "both")
    assert summary.warmup_steady is not None  # whether two seconds were alike is the machine's to say
    assert [len(done["warmup_steps"]) for done in summaries.values()] == [len(summary.warmup_steps)] * 2 == [8] * 2
    assert sum(done for done, _ in summary.warmup_steps) <= summary.warmup.ok
    assert 0.999 < summary.seconds < 1.2


async def test_results_can_be_merged_again(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    await run_job(job_dict(server.port, tmp_path / "a", requests=30))
    once = merge([tmp_path / "a"], tmp_path / "b")
    twice = merge([tmp_path / "b"], tmp_path / "c")
    assert once == twice
    assert (tmp_path / "b" / "samples.csv").read_text() == (tmp_path / "a" / "samples.csv").read_text()


async def test_a_host_without_samples_invalidates_the_trial(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    await run_job(job_dict(server.port, tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "samples.csv").unlink()
    with pytest.raises(InvalidMeasurement, match="no samples"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


async def test_hosts_without_samples_add_their_counts_by_key(serve: Serve, tmp_path: Path) -> None:
    server = await serve(count_up)
    keys = {"kind": "cycle", "prefix": "k", "count": 3}
    operations = [INCREMENT | {"capture": ["value"]}]
    for name, requests in (("a", 6), ("b", 4)):
        job = job_dict(server.port, tmp_path / name, requests=requests, keys=keys, operations=operations, samples=False)
        assert sample_file((await run_job(job)).folder) is None
    summary = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert summary.captured == {"value": (sum(range(1, 11)), 10)}
    assert outcome_counts.read(tmp_path / "c" / "keys.csv") == {
        ("increment", f"k-{n}", "ok"): 4 - (n > 0) for n in range(3)
    }
    (tmp_path / "b" / "keys.csv").unlink()
    with pytest.raises(InvalidMeasurement, match="counts by key cannot be read"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "d")


def clock(boot: str, monotonic: int) -> Clock:
    return Clock(boot_id=boot, t0_monotonic_us=monotonic)


def test_times_are_counted_from_the_earliest_release() -> None:
    one_kernel = [clock("k", 1000), clock("k", 1400)]
    assert time_shifts(one_kernel) == [0, 400]
    assert time_shifts(one_kernel, [5, 99_999]) == [0, 400], "what is exact needs no estimate"
    two_kernels = [clock("k", 1000), clock("l", 99)]
    assert time_shifts(two_kernels, [5_000_000, 5_000_601]) == [300, 0]
    assert time_shifts([clock("", 1), clock("", 2)], [0, 5]) == [0, 6], "without a boot id no clock is shared"


async def two_hosts(serve: Serve, folder: Path, *, second_boot: str = "", late_us: int = 0, **job: Any) -> list[Path]:
    """Results of two load hosts that did the same. The second has another kernel (`second_boot`), whose clock is 1.5 s
    ahead, and begins to measure `late_us` later than the first."""
    server = await serve(count_up)
    await run_job(job_dict(server.port, folder / "a", load_host="load-a", **job))
    shutil.copytree(folder / "a", folder / "b")
    summary = json.loads((folder / "b" / "summary.json").read_text())
    summary["load_host"] = "load-b"
    for name in ("measure_from_us", "measure_to_us"):
        summary[name] += late_us
    if second_boot:
        summary["clock"] = {
            "boot_id": second_boot,
            "t0_monotonic_us": summary["clock"]["t0_monotonic_us"] + 1_500_000,
        }
    (folder / "b" / "summary.json").write_text(json.dumps(summary))
    return [folder / "a", folder / "b"]


async def test_different_clocks_do_not_lengthen_the_window(serve: Serve, tmp_path: Path) -> None:
    folders = await two_hosts(serve, tmp_path, second_boot="other", mode="open", rate=100.0, seconds=0.5, requests=None)
    one = json.loads((folders[0] / "summary.json").read_text())
    merged = merge(folders, tmp_path / "c", offsets_us=[0, -1_497_000])
    assert (merged.seconds, merged.rps, merged.apart_us) == (0.5, 2 * one["rps"], 3000)
    assert merged.clock_shared is False
    assert samples_of(tmp_path / "c").due_us[0] < 1_000_000, "their samples lie in one stretch of time"


async def test_a_late_start_is_reported_and_does_not_lengthen_the_window(serve: Serve, tmp_path: Path) -> None:
    job = {"mode": "open", "rate": 100.0, "seconds": 0.5, "requests": None}
    folders = await two_hosts(serve, tmp_path, late_us=1_000_000, **job)
    merged = merge(folders, tmp_path / "c")
    assert (merged.seconds, merged.apart_us) == (0.5, 1_000_000)
    assert [reason for reason in reasons(merged) if "1,000 ms apart" in reason]
    assert merge([tmp_path / "c"], tmp_path / "d").apart_us == 1_000_000, "nor is it forgotten"


def row(second: int, ok: int, phase: str = "measure") -> dict[str, Any]:
    return {"second": second, "phase": phase, "sent": ok, "ok": ok, "fail": 0, "unknown": 0, "latency": {5: ok}}


def test_seconds_of_the_same_phase_add_up() -> None:
    merged = list(
        merge_seconds([[row(0, 1, "warmup"), row(1, 2)], [row(0, 3, "warmup"), row(1, 1, "warmup"), row(1, 4)]])
    )
    assert [(r["second"], r["phase"], r["ok"], r["latency"]) for r in merged] == [
        (0, "warmup", 4, {5: 4}),
        (1, "warmup", 1, {5: 1}),
        (1, "measure", 6, {5: 6}),
    ]


@pytest.mark.parametrize(
    ("warmup", "steady"),
    [
        ((100, 300, *[5000] * 12), True),
        ((*[5000] * 12, 7000, 9000), False),  # steady when patience ended, not when the measured phase began
        ((500, 500), False),
        ((), None),
    ],
)
def test_a_warmup_was_steady_if_its_last_steps_were(tmp_path: Path, warmup: tuple[int, ...], steady: object) -> None:
    rows = [row(0, sum(warmup), "warmup"), row(4, 3, "warmup"), row(4, 500), row(5, 500)]
    summary = lane_summary(
        measure_from_us=4_000_000,
        measure_to_us=6_000_000,
        window=window(1000),
        warmup_steps=tuple((done, None) for done in warmup),
    )
    written = write(tmp_path, summary, {name: {5: 1000} for name in HISTOGRAMS}, rows)
    assert written.warmup_steady is steady
    assert written.rps == 500


@pytest.mark.parametrize("kernels", [("one", "one"), ("one", "other")])
def test_the_figures_of_a_trial_are_those_of_all_its_lanes(tmp_path: Path, kernels: tuple[str, str]) -> None:
    """Two lanes of 20 requests, as in the scenario deadlocks: 7 refused in one, 13 in the other."""
    lanes = {}
    for number, (boot, refused) in enumerate(zip(kernels, (7, 13), strict=True)):
        summary = lane_summary(
            measure=phase(20 - refused, fail=refused, errors={"40P01": refused}),
            window=window(20 - refused, fail=refused),
            clock=Clock(boot_id=boot, t0_monotonic_us=5_000_000 + (100_000 if boot == "one" else 10**12) * number),
            measure_to_us=1_000_000 * (1 + number),
            captured={"retries": (1.0, 2)} if number else {},
        )
        counts = {
            "latency": histogram_of([*[1000] * refused, *[9000] * (20 - refused)]),
            "refused": histogram_of([1000] * refused),
            "service": histogram_of([500] * 20),
            "lag": {},
        }
        (tmp_path / str(number)).mkdir()
        lanes[tmp_path / str(number)] = write(tmp_path / str(number), summary, counts, [])
    total = over_lanes(list(lanes), list(lanes.values()))
    assert (total.measure.sent, total.measure.ok, total.measure.fail) == (40, 20, 20)
    assert total.measure.errors == {"40P01": 20}
    assert (total.latency_ms.count, total.ok_ms.count, total.refused_ms.count) == (40, 20, 20)
    assert total.refused_ms.p50_ms == pytest.approx(1, rel=0.01)
    assert total.captured == {"retries": (1.0, 2)}
    assert total.seconds == (2.1 if kernels == ("one", "one") else 2.0), "from the first begin to the last end"


def test_one_lane_is_the_whole_trial(tmp_path: Path) -> None:
    summary = lane_summary()
    assert over_lanes([tmp_path], [summary]) is summary
