"""`./run` itself: the folder it works in, what it removes, and how settings of pip in the environment affect it."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "run"


def make_wheel(folder: Path) -> str:
    """Writes the wheel of a package `demo` into `folder` and returns its line of a lock file."""
    files = {
        "demo.py": "WORKS = True\n",
        "demo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "demo-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    hashes = {
        name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for name, text in files.items()
    }
    record = "".join(f"{name},sha256={hashes[name]},{len(text)}\n" for name, text in files.items())
    files["demo-1.0.dist-info/RECORD"] = record + "demo-1.0.dist-info/RECORD,,\n"
    path = folder / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return f"demo==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real `run` script, whose harness needs one package and prints its arguments and folder."""
    folder = tmp_path / "check out"
    (folder / "harness").mkdir(parents=True)
    (folder / "tasks.py").touch()
    (folder / "harness/__init__.py").touch()
    (folder / "harness/__main__.py").write_text(
        "import os, sys\nimport demo\nif __name__ == '__main__': print(os.getcwd(), demo.__file__, *sys.argv[1:])\n"
    )
    shutil.copy(SCRIPT, folder / "run")
    line = make_wheel(tmp_path)
    for lock in ("requirements.lock", "requirements-dev.lock"):
        (folder / lock).write_text(line)
    return folder


def run(script: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    wheels = script.resolve().parents[1]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PYTHON": sys.executable, "PATH": path} | environment
    return subprocess.run([str(script), *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_a_link_in_another_project_leaves_its_venv_alone(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / ".venv/bin").mkdir(parents=True)
    (other / ".venv/bin/precious").write_text("mine")
    (other / "run").symlink_to(checkout / "run")
    (other / "again").symlink_to("run")  # a relative link to a link
    for name in ("run", "again"):
        done = run(other / name, "status", cwd=other)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split(" ")[-1] == "status\n"
        assert str(checkout / ".venv") in done.stdout
    assert (other / ".venv/bin/precious").read_text() == "mine"
    assert sorted(path.name for path in other.iterdir()) == [".venv", "again", "run"]


@pytest.mark.parametrize("kind", ["folder", "link", "file"])
def test_a_venv_that_the_script_did_not_make_is_refused(checkout: Path, tmp_path: Path, kind: str) -> None:
    venv, elsewhere = checkout / ".venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    if kind == "folder":
        shutil.copytree(elsewhere, venv)
    elif kind == "link":
        venv.symlink_to(elsewhere)
    else:
        venv.write_text("precious")
    done = run(checkout / "run", "status")
    assert done.returncode == 2
    assert f"{venv} exists and was not made by this script" in done.stderr
    assert venv.is_file() or (venv / "precious").exists()


@pytest.mark.parametrize("left", ["made-by-run", "stamp"])
def test_a_half_made_venv_of_an_earlier_call_is_made_again(checkout: Path, left: str) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / left).touch()
    assert run(checkout / "run", "status").returncode == 0
    assert run(checkout / "run", "--list").stderr == "", "a second call makes nothing"


ELSEWHERE = {
    "PIP_USER": "1",
    "PIP_TARGET": "/tmp/elsewhere",
    "PIP_PREFIX": "/tmp/elsewhere",
    "PIP_ROOT": "/tmp/elsewhere",
    "PIP_DRY_RUN": "1",
    "PIP_PYTHON": "/usr/bin/python3",
    "PIP_NO_BINARY": ":all:",
    "PIP_CONSTRAINT": "/nowhere",
    "PYTHONUSERBASE": "/tmp/elsewhere",
    "PYTHONHOME": "/nowhere",
    "PYTHONSAFEPATH": "1",
    "PYTHONPATH": "/nowhere",
    "VIRTUAL_ENV": "/nowhere",
    "UV_SYSTEM_PYTHON": "1",
    "UV_TARGET": "/tmp/elsewhere",
    "PIP_user": "1",
    "PIP_Dry_Run": "1",
    "PYTHONHASHSEED": "abc",
    "PYTHONUTF8": "yes",
    "PYTHONIOENCODING": "no-such-encoding",
}
"""Each of these alone makes pip or uv install to another place, or nothing, or keeps Python from starting."""


def test_settings_of_pip_cannot_send_packages_elsewhere(checkout: Path) -> None:
    done = run(checkout / "run", "status", **ELSEWHERE)
    assert done.returncode == 0, done.stderr
    assert str(checkout / ".venv") in done.stdout
    assert not Path("/tmp/elsewhere").exists()
    again = run(checkout / "run", "status", **ELSEWHERE)  # with a finished .venv too
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr


def test_a_folder_that_cannot_hold_the_environment_ends_with_2(checkout: Path) -> None:
    odd = checkout.rename(checkout.with_name("a:b"))  # venv refuses the separator of PATH
    done = run(odd / "run", "status")
    assert done.returncode == 2
    assert "could not make a virtual environment" in done.stderr
    assert not (odd / ".venv").exists()


def test_a_configuration_file_that_sends_packages_elsewhere_is_named(checkout: Path, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(f"[install]\ntarget = {tmp_path / 'elsewhere'}\n")
    done = run(checkout / "run", "status", PIP_CONFIG_FILE=str(config))
    assert done.returncode == 2
    assert "but not into .venv" in done.stderr
    assert not (checkout / ".venv").exists(), "nothing half-made is left, and nothing is called complete"


def test_a_package_that_cannot_be_installed_leaves_nothing(checkout: Path) -> None:
    (checkout / "requirements.lock").write_text("demo==1.0 --hash=sha256:" + "0" * 64 + "\n")
    done = run(checkout / "run", "status")
    assert done.returncode == 2
    assert "could not install requirements.lock" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_folder_that_is_no_checkout_is_refused(checkout: Path) -> None:
    (checkout / "tasks.py").unlink()
    done = run(checkout / "run", "status")
    assert done.returncode == 2
    assert "is not a checkout of pgcrucible" in done.stderr


def test_the_folder_of_the_user_and_closed_standard_files_reach_the_program(checkout: Path, tmp_path: Path) -> None:
    (checkout / "harness/__main__.py").write_text(
        "import os\n"
        "if __name__ == '__main__':\n"
        "    names = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]\n"
        "    open(os.environ['OUT'], 'w').write('\\n'.join([os.environ['PGCRUCIBLE_CWD'], os.getcwd(), *names]))\n"
    )
    (tmp_path / "a user's").mkdir()
    out = tmp_path / "out"
    run(checkout / "run", "status")
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        (tmp_path / "call").write_text(f'#!/bin/sh\nexec "{checkout}/run" status {closed}\n')
        (tmp_path / "call").chmod(0o755)
        done = run(tmp_path / "call", cwd=tmp_path / "a user's", OUT=str(out), PGCRUCIBLE_CWD="/of an outer call")
        assert done.returncode == 0, done.stderr
        caller, folder, *files = out.read_text().splitlines()
        assert (caller, folder) == (str(tmp_path / "a user's"), str(checkout))
        assert ("/dev/null" in files) == bool(closed)
        assert not [name for name in files if str(checkout) in name]
