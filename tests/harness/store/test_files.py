"""Files of a run folder: written atomically and never through a symbolic link."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.store.files import append_rows, write_atomically

ROOT = Path(__file__).parents[3]


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="No such file or directory"):
        write_atomically(tmp_path / "gone" / "run.yml", "x")


def test_a_killed_write_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harness.store.files import write_atomically\n"
        "path, n = Path(sys.argv[1]), 0\n"
        "while True:\n    n += 1\n    write_atomically(path, f'{n}\\n' * 200_000)\n    print(n, flush=True)\n"
    )
    target = tmp_path / "run.yml"
    for turn in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(target)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.001 * turn)
            process.kill()
        lines = target.read_text().splitlines()
        assert len(lines) == 200_000
        assert len(set(lines)) == 1
    write_atomically(target, "and on")
    assert [path.name for path in tmp_path.iterdir()] == ["run.yml"]


def test_nothing_is_written_through_a_symbolic_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".run.yml.part", "run.yml", "trials.csv"):
        (folder / name).symlink_to(precious)
    write_atomically(folder / "run.yml", "new")
    with pytest.raises(RigError, match="symbolic link"):
        append_rows(folder / "trials.csv", ("a",), [{"a": 1}])
    assert precious.read_text() == "keep me"
    assert (folder / "run.yml").read_text() == "new"
