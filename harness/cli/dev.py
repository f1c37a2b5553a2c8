"""The tasks for the development of pgcrucible: lint, tests, docs, locks, audits, fuzzing, self-benchmarks."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.cli.console import say
from harness.cli.runs import ROOT
from harness.errors import CriterionFailed, UsageError
from harness.plan.option_values import whole
from harness.text import nearest

SELFBENCHES = {
    "app": "harness.selfbench.app",
    "load": "harness.selfbench.load",
    "provision": "harness.selfbench.provision",
    "trust": "harness.selfbench.trust",
}
RIVALS = {"load": ("wrk", "hey", "haproxy")}
"""Programs that a self-benchmark is compared with; program and Debian package have the same name."""
FUZZ_INPUTS = 100_000
LOCKS = ("requirements.lock", "requirements-host.lock", "requirements-dev.lock", "requirements-pgadmin.lock")


def _call(name: str, command: list[str], env: Mapping[str, str] | None = None) -> bool:
    say(f"== {name}")
    return subprocess.run(command, cwd=ROOT, check=False, env={**os.environ, **(env or {})}).returncode == 0


def run_lint(*, fix: bool = False) -> None:
    """Runs every linter, then names those that failed; `fix`: ruff first corrects what it can."""
    bin_ = Path(sys.executable).parent
    if fix:
        _call("ruff check --fix", [f"{bin_}/ruff", "check", "--fix-only", "."])
        _call("ruff format", [f"{bin_}/ruff", "format", "."])
    linters: dict[str, list[str]] = {
        "ruff format --check": [f"{bin_}/ruff", "format", "--check", "."],
        "ruff check": [f"{bin_}/ruff", "check", "."],
        "mypy": [f"{bin_}/mypy"],
        "ansible-lint": [f"{bin_}/ansible-lint", "--offline", "-q"],
        "yamllint": [f"{bin_}/yamllint", "-s", "."],
    }
    ansible = {"ANSIBLE_CONFIG": str(ROOT / "playbooks/ansible.cfg")}
    bad = [name for name, command in linters.items() if not _call(name, command, ansible)]
    if bad:
        raise CriterionFailed(f"lint: {', '.join(bad)}", hint="./run lint --fix corrects most of it")


def run_tests(select: str | None, *, fast: bool) -> None:
    """Runs all linters, then the tests: several files at once, because most tests wait for processes and deadlines.

    A selection by name runs in one process: to start the others would take longer.
    """
    failed = ""
    try:
        run_lint()
    except CriterionFailed as error:
        failed = error.message
    command = [sys.executable, "-m", "pytest", "-q", "--durations=20", f"--run={ROOT / 'results/example'}", "tests"]
    if fast:
        command += ["-m", "not rig and not vm"]
    if select:
        command += ["-k", select]
    else:
        command += ["-n", str((os.cpu_count() or 1) + 2), "--no-loadscope-reorder"]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if failed or done.returncode:
        raise CriterionFailed(failed or f"pytest ended with exit code {done.returncode}", hint="see above")


def run_docs() -> None:
    """Rewrites the tables that are made from the code: docs/generate.py, which also reads the service's settings."""
    if not _call("docs", [sys.executable, "-m", "docs.generate"]):
        raise UsageError("the tables were not written", hint="see the traceback above")


def run_lock() -> None:
    """Updates the lock files to the newest versions, with uv."""
    if shutil.which("uv") is None:
        raise UsageError("uv is not installed", hint="pip install uv")
    base = [
        "uv",
        "pip",
        "compile",
        "-q",
        "--upgrade",
        "--universal",
        "--generate-hashes",
        "--no-header",
        "--no-annotate",
    ]
    controller = [*base, "--python-version", "3.11", "pyproject.toml"]
    hosts = [*base, "--python-version", "3.10"]  # a host may be Ubuntu 22.04, the controller may not
    for command in (
        [*controller, "-o", "requirements.lock"],
        [*hosts, "--group", "host", "-o", "requirements-host.lock"],
        [*controller, "-c", "requirements.lock", "--group", "dev", "-o", "requirements-dev.lock"],
        [*base, "--python-version", "3.11", "--group", "pgadmin", "-o", "requirements-pgadmin.lock"],
    ):
        if not _call(" ".join(command[-2:]), command):
            raise UsageError("uv could not resolve the requirements", hint="see above")


def run_selfbench(what: str, json_file: str | None, *, cold: bool = False) -> None:
    """Runs a self-benchmark; `cold` is an option of `provision`."""
    if what not in SELFBENCHES:
        raise UsageError(f"there is no selfbench '{what}'", hint=nearest(what, SELFBENCHES))
    if cold and what != "provision":
        raise UsageError(f"selfbench {what} has no option --cold", hint="./run selfbench provision --cold")
    file = Path(json_file) if json_file else None
    if file and not file.absolute().parent.is_dir():
        raise UsageError(f"--json {file}: the folder {file.absolute().parent} does not exist", hint="create it first")
    _install([name for name in RIVALS.get(what, ()) if shutil.which(name, path=_PATH) is None])
    importlib.import_module(SELFBENCHES[what]).main(file, **({"cold": True} if cold else {}))


_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def _install(packages: list[str]) -> None:
    """Installs packages from apt if that needs no password; a benchmark reports a program that is missing."""
    apt = ["apt-get"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get"]
    if not packages or shutil.which(apt[0]) is None:
        return
    say(f"installing {', '.join(packages)} (apt-get)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        subprocess.run([*apt, *arguments], env=env, check=False, stdout=subprocess.DEVNULL)


def run_fuzz(count: str | None) -> None:
    """Sends random requests to the service; fails on a 5xx that the database did not cause."""
    inputs = whole("count", count, 1, 100_000_000) or FUZZ_INPUTS
    if not _call(f"fuzz with {inputs:,} inputs", [sys.executable, "-m", "tests.app.fuzz", str(inputs)]):
        raise CriterionFailed(
            "the fuzzer found a request that the service answers with an unexpected response", hint="see above"
        )


def run_audit() -> None:
    """Checks the pinned packages for known vulnerabilities, and prints which could not be checked, and why."""
    bad = []
    for name in LOCKS:
        command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner=off"]
        done = subprocess.run(
            [*command, "--format=json", "-r", name], cwd=ROOT, capture_output=True, text=True, check=False
        )
        try:
            packages = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            last = (done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1]
            say(f"{name}: not audited, because the database of advisories is not reachable: {last[:200]}")
            continue
        audited = [package for package in packages if "skip_reason" not in package]
        known = [package for package in audited if package["vulns"]]
        if not audited:
            say(f"{name}: not audited, because the package index has no advisories")
            continue
        rest = f", {len(packages) - len(audited)} not found in the database" if len(audited) < len(packages) else ""
        say(f"{name}: {len(audited)} packages audited{rest}; {len(known)} with a known vulnerability")
        for package in known:
            say(f"  {package['name']} {package['version']}: {', '.join(entry['id'] for entry in package['vulns'])}")
        bad += [name] if known else []
    if bad:
        raise CriterionFailed(f"known vulnerabilities in {', '.join(bad)}", hint="./run lock updates to newer versions")
