"""The tasks of `./run --list` for development, in the form of tasks.py, which imports them."""

from __future__ import annotations

from invoke import Context

from harness.cli.task import task


@task(
    what="app, load, provision or trust",
    json="file to write the results to, as JSON",
    cold="with provision: rebuild the image too, which takes about a minute longer",
)
def selfbench(_: Context, what: str, json: str | None = None, cold: bool = False) -> None:
    """Benchmark pgcrucible: service and load engine beside standard tools, provisioning, and trust in its verdicts."""
    from harness.cli.dev import run_selfbench

    run_selfbench(what, json, cold=cold)


@task(count="number of requests (default: 100,000)")
def fuzz(_: Context, count: str | None = None) -> None:
    """Send random requests to the service; no 5xx is allowed that the database did not cause."""
    from harness.cli.dev import run_fuzz

    run_fuzz(count)


@task()
def audit(_: Context) -> None:
    """Check the pinned packages for known vulnerabilities (pip-audit)."""
    from harness.cli.dev import run_audit

    run_audit()


@task(shell="bash, zsh or fish")  # noqa: S604  # no subprocess
def completion(_: Context, shell: str) -> None:
    """Print the script that completes tasks, options and their values in a shell."""
    from harness.cli.completion import run_completion

    run_completion(shell)


@task(fix="first correct what ruff can correct")
def lint(_: Context, fix: bool = False) -> None:
    """Check format, lint rules and types: ruff, mypy, ansible-lint, yamllint."""
    from harness.cli.dev import run_lint

    run_lint(fix=fix)


@task(
    select="run the tests that match this pytest -k expression",
    fast="leave out the tests that build a rig or boot a virtual machine",
)
def test(_: Context, select: str | None = None, fast: bool = False) -> None:
    """Run the linters and the unit, integration and acceptance tests."""
    from harness.cli.dev import run_tests

    run_tests(select, fast=fast)


@task()
def docs(_: Context) -> None:
    """Rewrite the tables in README.md and docs/ that are made from the code."""
    from harness.cli.dev import run_docs

    run_docs()


@task()
def lock(_: Context) -> None:
    """Resolve pyproject.toml into the requirements files again, with hashes."""
    from harness.cli.dev import run_lock

    run_lock()
