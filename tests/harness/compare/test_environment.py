"""Facts that make two environments different, and facts that do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from harness.compare.environment import differences, moved_canaries


def manifest() -> dict[str, Any]:
    return {
        "code": {"commit": "abc", "dirty": False, "command": "bench", "seed": 1},
        "rig": {
            "name": "local",
            "provider": "podman",
            "acceleration": "",
            "tls": False,
            "code_hash": "1111",
            "image": "2222",
            "hosts": [
                {
                    "name": name,
                    "role": name.split("-")[0],
                    "cpus": 0.5,
                    "memory": 2_000_000_000,
                    "kernel": "6.1.0-18",
                    "cpu_model": "Some CPU",
                    "versions": {"haproxy": "2.6.12", "python3": "3.11.2", "app": "1111"},
                }
                for name in ("db", "lb", "load-1", "app-1", "app-2")
            ],
        },
        "settings": {
            "postgres": {"shared_buffers": "256MB"},
            "app": {"app-1": {"workers": 1}},
            "sqlite-tuned": {"journal_mode": "wal", "synchronous": 2, "page_size": 4096},
        },
    }


Change = Callable[[dict[str, Any]], object]

FORBID: dict[str, Change] = {
    "rig.provider": lambda m: m["rig"].update(provider="vm"),
    "rig.acceleration": lambda m: m["rig"].update(acceleration="tcg"),
    "rig.tls": lambda m: m["rig"].update(tls=True),
    "topology": lambda m: m["rig"]["hosts"].append({**m["rig"]["hosts"][-1], "name": "app-3"}),
    "db.cpus": lambda m: m["rig"]["hosts"][0].update(cpus=2),
    "db.memory": lambda m: m["rig"]["hosts"][0].update(memory=4_000_000_000),
    "app.kernel": lambda m: m["rig"]["hosts"][4].update(kernel="6.2"),
    "lb.cpu_model": lambda m: m["rig"]["hosts"][1].update(cpu_model="Another"),
    "lb.versions.haproxy": lambda m: m["rig"]["hosts"][1]["versions"].update(haproxy="2.8"),
    "app.versions.python3": lambda m: m["rig"]["hosts"][4]["versions"].pop("python3"),
    "load.fact_of_tomorrow": lambda m: m["rig"]["hosts"][2].update(fact_of_tomorrow=7),
    "settings.postgres.fsync": lambda m: m["settings"]["postgres"].update(fsync="off"),
    "settings.postgres.synchronous_commit": lambda m: m["settings"]["postgres"].update(synchronous_commit="off"),
    "settings.postgres.full_page_writes": lambda m: m["settings"]["postgres"].update(full_page_writes=False),
    "settings.postgres.wal_level": lambda m: m["settings"]["postgres"].update(wal_level="minimal"),
    "settings.postgres.server_version": lambda m: m["settings"]["postgres"].update(server_version="16.1"),
    "settings.sqlite-tuned.synchronous": lambda m: m["settings"]["sqlite-tuned"].update(synchronous=1),
    "settings.sqlite-tuned.journal_mode": lambda m: m["settings"]["sqlite-tuned"].update(journal_mode="delete"),
}

SHOWN: dict[str, Change] = {
    "code.commit": lambda m: m["code"].update(commit="def"),
    "rig.code_hash": lambda m: m["rig"].update(code_hash="3333"),
    "rig.image": lambda m: m["rig"].update(image="3333"),
    "app.versions.app": lambda m: m["rig"]["hosts"][3]["versions"].update(app="3333"),
    "settings.postgres.shared_buffers": lambda m: m["settings"]["postgres"].update(shared_buffers="1GB"),
    "settings.app.app-1.workers": lambda m: m["settings"]["app"]["app-1"].update(workers=2),
    "settings.sqlite-tuned.page_size": lambda m: m["settings"]["sqlite-tuned"].update(page_size=512),
}

EQUAL: dict[str, Change] = {
    "nothing": lambda m: None,
    "another name of the rig": lambda m: m["rig"].update(name="other"),
    "other addresses": lambda m: m["rig"]["hosts"][0].update(address="198.18.7.7", ssh_port=2222),
    "hosts in another order": lambda m: m["rig"]["hosts"].reverse(),
    "a little memory": lambda m: [host.update(memory=2_010_000_000) for host in m["rig"]["hosts"]],
    "a default spelled out": lambda m: m["settings"]["postgres"].update(fsync=True, wal_level="replica"),
    "an empty default spelled out": lambda m: m["settings"]["postgres"].update(synchronous_standby_names=""),
    "a float for an integer": lambda m: m["settings"]["app"]["app-1"].update(workers=1.0),
    "a SQLite set-up that only one of them measured": lambda m: m["settings"].pop("sqlite-tuned"),
    "no TLS spelled out": lambda m: m["settings"].update(tls=False),
}


def changed(change: Change) -> dict[str, Any]:
    other = copy.deepcopy(manifest())
    change(other)
    return other


@pytest.mark.parametrize("fact", FORBID)
def test_difference_that_forbids_a_comparison(fact: str) -> None:
    for a, b in ((manifest(), changed(FORBID[fact])), (changed(FORBID[fact]), manifest())):
        unlike = differences(a, b)
        assert [one.fact for one in unlike if one.forbids] == [fact]


@pytest.mark.parametrize("fact", SHOWN)
def test_difference_that_is_only_shown(fact: str) -> None:
    (unlike,) = differences(manifest(), changed(SHOWN[fact]))
    assert (unlike.fact, unlike.forbids) == (fact, False)


@pytest.mark.parametrize("name", EQUAL)
def test_no_difference(name: str) -> None:
    assert differences(manifest(), changed(EQUAL[name])) == ()


def test_differences_that_forbid_come_first() -> None:
    other = changed(SHOWN["code.commit"])
    other["settings"]["postgres"]["fsync"] = "off"
    assert [str(one) for one in differences(manifest(), other)] == [
        "settings.postgres.fsync: on against off",
        "code.commit: abc against def",
    ]


def test_fact_of_one_side_only_is_not_recorded_on_the_other() -> None:
    other = manifest()
    for host in other["rig"]["hosts"]:
        del host["kernel"]
    assert str(differences(manifest(), other)[0]) == "app.kernel: 6.1.0-18 against not recorded"


def of_apps(fact: str, values: list[object]) -> dict[str, Any]:
    """Returns the manifest with one app host per value of the fact."""
    changed = manifest()
    app = changed["rig"]["hosts"].pop()
    changed["rig"]["hosts"] = [host for host in changed["rig"]["hosts"] if host["role"] != "app"]
    changed["rig"]["hosts"] += [{**app, "name": f"app-{n}", fact: value} for n, value in enumerate(values)]
    return changed


def test_each_value_must_be_on_the_same_number_of_hosts() -> None:
    (unlike,) = differences(of_apps("cpus", [0.5, 0.5, 0.5, 4]), of_apps("cpus", [4, 0.5, 4, 4]))
    assert (str(unlike), unlike.forbids) == ("app.cpus: 3 x 0.5, 4 against 0.5, 3 x 4", True)
    assert differences(of_apps("cpus", [0.5, 4, 4]), of_apps("cpus", [4, 0.5, 4])) == ()


def test_memory_of_hosts_may_differ_slightly() -> None:
    small, large = 2_000_000_000, 10_000_000_000
    here = of_apps("memory", [small, large, large])
    assert differences(here, of_apps("memory", [large + 4096, small - 4096, large])) == ()
    assert [one.fact for one in differences(here, of_apps("memory", [small, small, large]))] == ["app.memory"]
    assert [one.fact for one in differences(here, of_apps("memory", [small, large, "much"]))] == ["app.memory"]


def with_canaries(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    return manifest() | {"canaries": {"before": {"app-1": before, "app-2": before}, "after": {"app-1": after}}}


def test_canaries_that_differ_between_two_runs_are_named_by_role() -> None:
    calm = with_canaries({"cpu_ms": 10.0, "fsync_ms": 1.0}, {"cpu_ms": 10.0})
    assert list(moved_canaries([calm], [with_canaries({"cpu_ms": 11.4, "fsync_ms": 0.9}, {"cpu_ms": 30.0})])) == []
    hot = with_canaries({"cpu_ms": 11.6, "fsync_ms": 1.0}, {"cpu_ms": 10.0})
    reason = "the machines were not equally fast"
    assert list(moved_canaries([calm], [hot])) == [f"canary app cpu_ms: 10 in A, 11.6 in B: {reason}"]
    assert list(moved_canaries([hot], [calm])) == [f"canary app cpu_ms: 11.6 in A, 10 in B: {reason}"]
    assert list(moved_canaries([calm], [manifest()])) == []
    assert list(moved_canaries([calm, calm], [hot, calm, calm])) == []
    noisy = [with_canaries({"fsync_ms": ms}, {}) for ms in (0.5, 1.4)]
    assert list(moved_canaries(noisy[:1], noisy[1:])) == []


@pytest.mark.parametrize("canaries", [None, "x", {"before": 7}, {"before": {"app-1": "x"}}, {1: {2: {3: "nan"}}}])
def test_damaged_canaries_are_ignored(canaries: object) -> None:
    assert list(moved_canaries([{"canaries": canaries}], [{"canaries": canaries}])) == []


@pytest.mark.parametrize("rig", [None, "x", [], {"hosts": "x"}, {"hosts": [1, None]}, {"hosts": [{}]}])
def test_damaged_manifests_are_compared_without_an_error(rig: object) -> None:
    assert differences({"rig": rig}, {"rig": rig}) == ()
    assert not any(one.forbids for one in differences({"settings": rig, "code": rig}, {}))
    assert differences(manifest(), {"rig": rig})
