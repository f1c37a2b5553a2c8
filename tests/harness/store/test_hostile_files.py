"""Damaged and hostile files of a run folder are rejected in time, with one printable line."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.store.csv_rows import TRIAL_COLUMNS
from harness.store.files import append_rows, read_table
from harness.store.run_reader import load_run
from tests.support.stored_runs import rejected
from tests.support.summaries import lane_summary


def manifest(path: Path, **changed: Any) -> str:
    data = yaml.safe_load((path / "run.yml").read_text())
    return yaml.safe_dump(data | changed)


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "!!python/object/apply:os.system ['touch /tmp/pgcrucible-owned']",
            "tag:yaml.org,2002:python/object/apply:os.system is not allowed",
        ),
        ("format: 1\nrun_id: !!python/name:os.system ''\n", "is not allowed"),
        ("format: 1\nrun_id: !!binary aGk=\n", "is not allowed"),
        ("format: 1\nsettings: !!set {a, b}\n", "is not allowed"),
        ("format: 0x" + "f" * 1_000_000, "format 0xffff"),
        ("format: 0b" + "1" * 1_000_000, "format 0b1111"),
        ("format: 1" + ":1" * 3_000_000, "format 1:1:1"),
        ("format: 1" + ":1" * 3_000_000 + ".0", "format 1:1:1"),
        ("format: 2001-99-99", "format 2001-99-99; this version reads format 1"),
        ("a: [" + "1," * 5_000_000 + "]", "more than 500,000 values"),
        (BOMB, "aliases are not allowed"),
        ("a: &a\n  b: *a\n", "aliases are not allowed"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ("a: " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("? " * 5000 + "x", "nested too deeply"),
        ("format: " + "9" * 5000, "this version reads format 1"),
        ("format: " + "9" * 4000, "this version reads format 1"),
        ("format: 1\nrun_id: [", "run.yml"),
        ("", "no `format`"),
        ("- format: 1", "no `format`"),
        ("just text", "no `format`"),
        ("\0\0\0\0", "run.yml"),
        ("format: 1\nformat\x1b[2J: 2", "run.yml"),
        ("format: 99\n", "format 99; this version reads format 1"),
        ("format: 1\n", "run_id: Field required"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_a_hostile_or_damaged_manifest_is_rejected(path: Path, text: str, message: str) -> None:
    (path / "run.yml").write_text(text)
    rejected(lambda: load_run(path), message)
    assert not Path("/tmp/pgcrucible-owned").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"run_id": "../../etc/passwd"}, {"run_id": "/etc/passwd"}, {"run_id": "a/b"}, {"run_id": ""}, {"run_id": 7},
        {"run_id": "x" * 100}, {"unknown_key": 1}, {"status": "great"}, {"verdict": True}, {"findings": "none"},
        {"stages": {"load": "long"}},
        {"code": {"commit": "a", "dirty": False, "command": "b", "seed": "9" * 4000}},
        {"findings": [{"check": "c"}]}, {"\x1b[2J": 1}, {"rig": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_with_a_wrong_field_is_rejected(path: Path, changed: dict[str, Any]) -> None:
    (path / "run.yml").write_text(manifest(path, **changed))
    rejected(lambda: load_run(path), "run.yml")


def test_a_manifest_that_is_not_a_text_file_is_rejected(path: Path) -> None:
    (path / "run.yml").write_bytes(b"format: 1\nrun_id: \xff\xfe\n")
    rejected(lambda: load_run(path), "run.yml")
    (path / "run.yml").unlink()
    rejected(lambda: load_run(path), "no run.yml")
    (path / "run.yml").symlink_to("/dev/zero")
    rejected(lambda: load_run(path), "not a regular file")
    (path / "run.yml").unlink()
    os.mkfifo(path / "run.yml")
    rejected(lambda: load_run(path), "not a regular file")


def test_a_huge_manifest_is_rejected_before_it_is_read(path: Path) -> None:
    with (path / "run.yml").open("wb") as file:
        file.truncate(33 * 2**20)
    rejected(lambda: load_run(path), "larger than")


def line_of(path: Path, **changed: str) -> None:
    """Changes the first trial's row."""
    lines = read_table(path / "trials.csv", TRIAL_COLUMNS)
    lines[0] |= changed
    (path / "trials.csv").unlink()
    append_rows(path / "trials.csv", TRIAL_COLUMNS, lines)


@pytest.mark.parametrize(
    "changed",
    [
        {"hosts": "9" * 5000}, {"hosts": "four"}, {"rps": "fast"}, {"rps": "nan"}, {"rps": "1e999"}, {"order": "2"},
        {"order": "-1"}, {"order": "../../x"},
        {"hosts": "9" * 4000}, {"clients": "-5"}, {"seed": "1" * 16}, {"pool": "1_0"},
        {"params": "[1]"}, {"params": "[" * 50_000}, {"params": "{"},
        {"params": "9" * 5000}, {"valid": "yes"}, {"valid": ""}, {"steady": "maybe"}, {"mode": "open", "rate": ""},
        {"mode": "wide"}, {"trial": "1e3"},
    ],
    ids=str,
)  # fmt: skip
def test_an_impossible_trial_is_rejected_with_file_and_line(path: Path, changed: dict[str, str]) -> None:
    line_of(path, **{k: v[:60_000] for k, v in changed.items()})
    rejected(lambda: load_run(path), "trials.csv")


def test_a_damaged_table_is_rejected(path: Path) -> None:
    whole = (path / "trials.csv").read_text()
    for text in (whole.replace("scenario", "scene", 1), "order\n1\n", whole[: len(whole) - 30], '"' + "x" * 200_000):
        (path / "trials.csv").write_text(text)
        rejected(lambda: load_run(path), "trials.csv")
    (path / "trials.csv").write_bytes(whole.encode() + b"\xff\xfe")
    rejected(lambda: load_run(path), "trials.csv")


def test_a_table_with_too_many_columns_is_rejected(path: Path) -> None:
    (path / "trials.csv").write_text(",".join(map(str, range(100_000))) + "\n1\n2\n")
    rejected(lambda: load_run(path), "more than 200 columns")


def test_a_missing_table_is_a_run_without_trials(path: Path) -> None:
    (path / "trials.csv").unlink()
    assert load_run(path).rows == ()


def test_a_table_behind_a_symbolic_link_is_not_read(path: Path) -> None:
    (path / "trials.csv").rename(path.parent / "elsewhere.csv")
    (path / "trials.csv").symlink_to(path.parent / "elsewhere.csv")
    assert load_run(path).rows == ()


@pytest.mark.parametrize(
    "text",
    [
        "[]", "null", "7", "{}", '"ledger"', "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "{", "\xff",
        '{"ledger": null, "notes": [], "strange": 1}', '{"ledger": {"i": 7}, "notes": []}',
        '{"ledger": {"i": ["a", "x"]}, "notes": []}', '{"ledger": [], "notes": []}', '{"ledger": null, "notes": null}',
        '{"ledger": {"i": ["a", ' + "9" * 5000 + ']}, "notes": []}', '{"ledger": null, "notes": [], "final": "x"}',
        '{"ledger": null, "notes": [], "counts": {"client": "7"}}', '{"ledger": null, "notes": [], "extra": [1]}',
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_damaged_evidence_is_rejected(path: Path, text: str) -> None:
    (path / "evidence" / "001.json").write_text(text, encoding="latin-1")
    rejected(lambda: load_run(path).evidence(1), "001.json")


def test_evidence_and_samples_behind_symbolic_links_are_not_read(path: Path, tmp_path: Path) -> None:
    for name in ("evidence/001.json", "samples/001-main.csv"):
        (path / name).rename(tmp_path / "elsewhere")
        (path / name).symlink_to(tmp_path / "elsewhere")
    run = load_run(path)
    assert run.evidence(1) is None
    assert run.lanes(1) == {}
    for name in ("evidence", "samples"):
        (path / name).rename(path / f"real-{name}")
        (path / name).symlink_to(path / f"real-{name}")
    assert run.evidence(2) is None
    assert (run.lanes(1), run.summaries(1), run.histogram(1, "main", "latency")) == ({}, {}, {})


SAMPLE = "0,increment,hot-0,app-1,0,0,5,ok,200,1,,,load-1,measure"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (SAMPLE, SAMPLE.replace(",ok,", ",fine,")),
        (SAMPLE, SAMPLE.replace(",200,", "," + "9" * 5000 + ",")),
        (SAMPLE, SAMPLE.replace(",200,", "," + "9" * 30 + ",")),
        (SAMPLE, SAMPLE + ",more"),
        (SAMPLE, SAMPLE[:20]),
        (SAMPLE, '"' + "x" * 200_000),
        ("seq,op", "seq,seq"),
        ("seq,op", '"' + "x" * 200_000),
        ("seq,op", "\xff\xfe"),
    ],
)
def test_damaged_samples_are_rejected(path: Path, old: str, new: str) -> None:
    file = path / "samples" / "001-main.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="latin-1")
    rejected(lambda: load_run(path).lanes(1), "001-main.csv")


def test_damaged_compressed_samples_are_rejected(path: Path) -> None:
    file = path / "samples" / "001-main.csv.gz"
    (path / "samples" / "001-main.csv").unlink()
    whole = gzip.compress(b"seq,op\n" + os.urandom(10_000))
    for data in (b"no gzip at all", whole[:50], whole[:30] + b"\0" * 20 + whole[50:], whole):
        file.write_bytes(data)
        rejected(lambda: load_run(path).lanes(1), "001-main.csv.gz")


def test_an_endless_line_is_rejected_before_it_fills_the_memory(path: Path) -> None:
    (path / "samples" / "001-main.csv.gz").write_bytes(gzip.compress(b"x" * 50_000_000))
    tracemalloc.start()
    try:
        rejected(lambda: load_run(path).lanes(1), "001-main.csv.gz")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_compression_bomb_is_rejected(path: Path) -> None:
    head, line, *_ = (path / "samples" / "001-main.csv").read_text().splitlines()
    bomb = gzip.compress(f"{head}\n".encode() + f"{line}\n".encode() * 100_000)
    (path / "samples" / "001-main.csv").unlink()
    (path / "samples" / "001-main.csv.gz").write_bytes(bomb)
    rejected(lambda: load_run(path).lanes(1), "001-main.csv.gz", "unpacks to more than 64 times its size")


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000, "{", '{"rps": NaN', "[1]", "{}"])
def test_a_damaged_summary_is_rejected(path: Path, text: str) -> None:
    (path / "samples" / "001-main.summary.json").write_text(text)
    rejected(lambda: load_run(path).summaries(1), "001-main.summary.json")


def test_a_summary_field_of_a_wrong_type_is_rejected_by_name(path: Path) -> None:
    text = json.dumps(lane_summary().to_json() | {"busy_us": "long \x1b[2J"})
    (path / "samples" / "001-main.summary.json").write_text(text)
    rejected(lambda: load_run(path).summaries(1), "summary.busy_us: expected int, got")
