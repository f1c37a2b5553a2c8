"""The memory that reading a hostile run takes: the peak of a separate process."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.rig.state import ROOT
from harness.store.csv_rows import TRIAL_COLUMNS

LANES = "run.lanes(1)"
LIMIT_MIB = 350
"""Reading each of these took up to 1,800 MiB."""
PEAK = """
import resource, sys
from pathlib import Path
from harness.errors import FormatError
from harness.load.results import samples
from harness.store.run_reader import load_run
samples.MemoryBudget.__init__.__defaults__ = (150 * 2**20,)  # a smaller machine, for a quick test
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    run = load_run(Path(sys.argv[1]))
    eval(sys.argv[2])
    print("read")
except FormatError as error:
    print("refused:", error.message)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def peak(run: Path, read: str) -> tuple[str, int]:
    """What reading ends with, and how many MiB it takes."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(run), read], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    answer, mib = done.stdout.splitlines()
    return answer, int(mib)


def wide_trials(run: Path) -> None:
    """Many columns, and rows as short as they can be."""
    more = [f"x{n}" for n in range(200 - len(TRIAL_COLUMNS))]
    (run / "trials.csv").write_text(",".join([*TRIAL_COLUMNS, *more]) + "\n" + "1\n" * 100_000)


def many_trials(run: Path) -> None:
    head, row, *_ = (run / "trials.csv").read_text().splitlines()
    row = row.split(",", 1)[1]
    (run / "trials.csv").write_text(head + "\n" + "".join(f"{n},{row}\n" for n in range(1, 40_000)))


def many_seconds(run: Path) -> None:
    head, row, *_ = (run / "timeline.csv").read_text().splitlines()
    rest = row.split(",", 4)[4]
    (run / "timeline.csv").write_text(head + "\n" + "".join(f"1,main,measure,{n},{rest}\n" for n in range(500_000)))


def wide_telemetry(run: Path) -> None:
    head = ["second", "order", "host", "metric", "value", *(f"x{n}" for n in range(190))]
    (run / "telemetry.csv").write_text(",".join(head) + "\n" + "1\n" * 1_000_000)


def evidence(run: Path, text: str) -> None:
    (run / "evidence/001.json").write_text(text)


def ledger(run: Path) -> None:
    rows = ",".join(f'"{n}":["a",{n}]' for n in range(1_200_000))
    evidence(run, f'{{"ledger":{{{rows}}},"notes":[]}}')


def captures(run: Path) -> None:
    evidence(run, '{"ledger":null,"notes":[],"extra":{"captures":{"main":[' + "{}," * 7_000_000 + "{}]}}}")


def lists(run: Path) -> None:
    evidence(run, '{"ledger":null,"notes":[],"extra":{"result":{"a":[' + "[]," * 7_000_000 + "[]]}}}")


def summary(run: Path) -> None:
    (run / "samples/001-main.summary.json").write_text('{"measure":[' + "{}," * 7_000_000 + "{}]}")


def keys(run: Path) -> None:
    rows = "".join(f"a,{n},ok,1\n" for n in range(4_000_000))
    (run / "samples/001-main.keys.csv").write_text("op,key,outcome,requests\n" + rows)


SAMPLES = "seq,op,key,host,due_us,sent_us,done_us,outcome,status,value,error,id,load_host,phase"


def samples(run: Path, row: str, count: int, more: str = "", suffix: str = ".csv") -> None:
    """Rows with the row's number in place of `{n}`; `more`: further columns."""
    for old in (run / "samples").glob("001-main.csv*"):
        old.unlink()
    for lane in ("main", "other"):
        opened = gzip.open if suffix == ".csv.gz" else open
        with opened(run / f"samples/001-{lane}{suffix}", "wt") as file:
            file.write(SAMPLES + more + "\n")
            file.writelines(row.format(n=n) + "\n" for n in range(count))


def many_samples(run: Path) -> None:
    samples(run, "1,a,a,a,1,1,1,ok,1,,,,a,a", 700_000)


def samples_of_many_texts(run: Path) -> None:
    samples(run, "1,a{n},b{n},c{n},1,1,1,ok,1,,d{n},e{n},f{n},g{n}", 120_000)


def packed_samples(run: Path) -> None:
    samples(run, "1,a,a,a,1,1,1,ok,1,,,{n},a,a", 700_000, suffix=".csv.gz")


def wide_samples(run: Path) -> None:
    samples(run, "1,a,a,a,1,1,1,ok,1,,,,a,a" + "," * 180, 60_000, "".join(f",c_{n}" for n in range(180)))


def samples_with_too_many_columns(run: Path) -> None:
    samples(run, "1,a,a,a,1,1,1,ok,1,,,,a,a" + "," * 10_000, 5_000, "".join(f",c_{n}" for n in range(10_000)))


CASES = {
    "wide trials": (wide_trials, "run.rows"),
    "many trials": (many_trials, "run.rows"),
    "many seconds": (many_seconds, "run.timeline()"),
    "wide telemetry": (wide_telemetry, "run.telemetry_totals()"),
    "ledger": (ledger, "run.evidence(1)"),
    "captures": (captures, "run.evidence(1)"),
    "lists": (lists, "run.evidence(1)"),
    "summary": (summary, "run.summaries(1)"),
    "keys": (keys, "run.outcome_counts(1)"),
    "many samples": (many_samples, LANES),
    "samples of many texts": (samples_of_many_texts, LANES),
    "packed samples": (packed_samples, LANES),
    "wide samples": (wide_samples, LANES),
    "samples with too many columns": (samples_with_too_many_columns, LANES),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_run_takes_little_memory(name: str, tmp_path: Path) -> None:
    run = Path(shutil.copytree(ROOT / "results/example", tmp_path / "run"))
    write, read = CASES[name]
    write(run)
    answer, mib = peak(run, read)
    assert mib < LIMIT_MIB, (answer, mib)
    assert answer.startswith("refused:"), (answer, mib)


def test_a_large_ledger_of_an_honest_run_is_read(tmp_path: Path) -> None:
    run = Path(shutil.copytree(ROOT / "results/example", tmp_path / "run"))
    rows = {f"{n:08x}-0000-4000-8000-{n:012x}": ["hot-0", n] for n in range(250_000)}
    evidence(run, json.dumps({"ledger": rows, "notes": []}, separators=(",", ":")))
    answer, mib = peak(run, "run.evidence(1)")
    assert (answer, mib < LIMIT_MIB) == ("read", True), mib
