"""The tasks of pgcrucible: `./run TASK`, or `invoke TASK` in the activated .venv.

Options and exit codes only; what they do stands in harness/. Heavy imports are inside the tasks, because tab
completion imports this file on every TAB.

Exit codes: 0 all criteria pass, 1 a criterion fails, 2 usage or configuration, 3 the rig could not be built or
reached, 4 the measurement is invalid, 130 interrupted (what was measured is kept).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from invoke import Collection, Context, Exit, task

from harness.plan.options import OPTIONS, Option

COMMON = {
    "rig": "name of the rig (default: local); several can stand side by side",
    "run": "a run: its folder or its id under results/ (default: the newest)",
    "hosts": "number of app hosts, 1 to 64",
    "inventory": "inventory file (default: inventory/local.yml)",
    "provider": "podman, vm or static (default: what the inventory says)",
    "json": "print JSON instead of text; with selfbench: the file to write",
    "yes": "do not ask",
}


def _guard(body: Callable[..., None]) -> Callable[..., None]:
    """Turns our errors into one line, a hint and the exit code; Ctrl-C into 130."""

    @functools.wraps(body)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from harness.errors import INTERRUPTED, CrucibleError, RigError

        try:
            body(*args, **kwargs)
        except CrucibleError as error:
            if isinstance(error, RigError) and error.output:
                print(error.output.rstrip(), file=sys.stderr)
            print(f"error: {error.message}", file=sys.stderr)
            if error.hint:
                print(f"hint: {error.hint}", file=sys.stderr)
            raise Exit(code=error.exit_code) from None
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            raise Exit(code=INTERRUPTED) from None
        except BrokenPipeError:  # `./run report | head`
            sys.stderr.close()
            raise Exit(code=0) from None

    return guarded


def _task(*options: Option, **help_lines: str) -> Callable[[Callable[..., None]], Any]:
    """A task without one-letter options (`--hosts` would take -h away from help).

    With `options` its signature is made from them: Invoke takes the command line, --help and completion from it.
    """

    def decorate(body: Callable[..., None]) -> Any:
        guarded = _guard(body)
        lines = {name.replace("_", "-"): line for name, line in help_lines.items()}
        if options:
            kind = Parameter.POSITIONAL_OR_KEYWORD
            parameters = [Parameter(option.keyword, kind, default=option.default) for option in options]
            guarded.__signature__ = Signature([Parameter("_", kind), *parameters])  # type: ignore[attr-defined]
            lines |= {option.name: option.help for option in options}
        return task(auto_shortflags=False, help=lines)(guarded)

    return decorate


@_task(
    hosts="app hosts that the rig shall have (default: 8), beside a database, load balancer and load host",
    json=COMMON["json"],
)
def doctor(_: Context, hosts: str | None = None, json: bool = False) -> None:
    """Say what of this machine a rig needs and whether it is there, with the cure for what is not."""
    from harness.cli.rigs import run_doctor

    run_doctor(hosts=hosts, as_json=json)


@_task(rig=COMMON["rig"], inventory=COMMON["inventory"], provider=COMMON["provider"], hosts=COMMON["hosts"])
def provision(
    _: Context, rig: str = "local", inventory: str | None = None, provider: str | None = None, hosts: str | None = None
) -> None:
    """Build the rig, or bring it to the wanted state: hosts, network, roles; proved by verify.yml."""
    from harness.cli.rigs import run_provision

    run_provision(rig, inventory=inventory, provider=provider, hosts=hosts)


@_task(*OPTIONS.values())
def bench(_: Context, **texts: str | bool | None) -> None:
    """Run scenarios against the rig or a service, judge them, store a run under results/ and print its summary."""
    from harness.cli.bench import run_bench

    run_bench(**texts)


@_task(run=COMMON["run"], recheck="an old run: print what today's checks say of its samples")
def check(_: Context, run: str | None = None, recheck: str | None = None) -> None:
    """Judge a collected run with pytest, one test per criterion, from what is stored alone."""
    from harness.cli.runs import run_check, run_recheck

    if recheck:
        run_recheck(recheck)
    else:
        run_check(run)


@_task(
    run=COMMON["run"],
    json=COMMON["json"],
    compare="a run to compare it with (the baseline)",
    anyway="with --compare: although the environments differ in what matters; recorded in the run",
)
def report(
    _: Context, run: str | None = None, json: bool = False, compare: str | None = None, anyway: bool = False
) -> None:
    """Print a run's summary and write its report.html anew."""
    from harness.cli.runs import run_compare, run_report
    from harness.errors import UsageError

    if compare:
        run_compare(compare, run or "latest", anyway=anyway, fail_if=None, as_json=json)
    elif anyway:
        raise UsageError("--anyway means nothing without a run to compare with", hint="give --compare RUN too")
    else:
        run_report(run, as_json=json)


@_task(
    a="the baseline: a run's folder or id",
    b="the run compared with it",
    anyway="although the environments differ in what matters; recorded in B",
    fail_if="end with 1 if B is slower by so much: slower:5%",
    json=COMMON["json"],
)
def compare(_: Context, a: str, b: str, anyway: bool = False, fail_if: str | None = None, json: bool = False) -> None:
    """Compare two runs: per cell and metric the ratio, its interval, and whether it is a difference at all."""
    from harness.cli.runs import run_compare

    run_compare(a, b, anyway=anyway, fail_if=fail_if, as_json=json)


@_task(
    rig=COMMON["rig"],
    seconds="end after so many seconds (default: Ctrl-C)",
    interval="seconds between two looks (default: 2)",
)
def watch(_: Context, rig: str = "local", seconds: str | None = None, interval: str = "2") -> None:
    """Show live who works, who waits on whom, every pool and HAProxy's rates."""
    from harness.cli.watch import run_watch
    from harness.plan.options import positive

    run_watch(rig, positive("seconds", seconds, 86_400), positive("interval", interval, 60) or 2.0)


@_task(
    what="app, load or provision",
    json="file to write the figures to, as JSON",
    cold="provision: build the image anew too, about a minute more",
)
def selfbench(_: Context, what: str, json: str | None = None, cold: bool = False) -> None:
    """Measure pgcrucible itself: service and load beside the field's own tools, provisioning by its stages."""
    from harness.cli.dev import run_selfbench

    run_selfbench(what, json, cold=cold)


@_task(count="number of inputs (default: 100,000)")
def fuzz(_: Context, count: str | None = None) -> None:
    """Send random requests to the service: no 5xx that the database did not cause."""
    from harness.cli.dev import run_fuzz

    run_fuzz(count)


@_task()
def audit(_: Context) -> None:
    """Look the pinned packages up in the database of known vulnerabilities, or say that it cannot be reached."""
    from harness.cli.dev import run_audit

    run_audit()


@_task(json=COMMON["json"])
def scenarios(_: Context, json: bool = False) -> None:
    """List the scenarios: the question of each, and the criteria that answer it."""
    from harness.cli.runs import run_scenarios

    run_scenarios(as_json=json)


@_task(rig=COMMON["rig"], json=COMMON["json"])
def status(_: Context, rig: str | None = None, json: bool = False) -> None:
    """Show the rigs and their hosts as they are now."""
    from harness.cli.rigs import run_status

    run_status(rig, as_json=json)


@_task(rig=COMMON["rig"], yes=COMMON["yes"], purge="also remove cached images and wheels")
def destroy(_: Context, rig: str = "local", yes: bool = False, purge: bool = False) -> None:
    """Remove the rig and verify that nothing of it is left."""
    from harness.cli.rigs import run_destroy

    run_destroy(rig, yes=yes, purge=purge)


@_task(rig=COMMON["rig"], hosts=COMMON["hosts"])
def quickstart(_: Context, rig: str = "local", hosts: str | None = None) -> None:
    """From nothing to a judged run: provision, bench concurrent-writes, check, report."""
    from harness.cli.quickstart import run_quickstart

    run_quickstart(rig, hosts=hosts)


@_task()
def lint(_: Context) -> None:
    """Format, lint and types: ruff, mypy, ansible-lint, yamllint."""
    from harness.cli.dev import run_lint

    run_lint()


@_task(
    select="pytest's -k expression",
    fast="leave out the tests that build a rig or boot a machine",
)
def test(_: Context, select: str | None = None, fast: bool = False) -> None:
    """Lint, then unit, integration and acceptance tests. Installs what they need."""
    from harness.cli.dev import run_tests

    run_tests(select, fast=fast)


@_task()
def lock(_: Context) -> None:
    """Resolve pyproject.toml anew into the requirements files, with hashes."""
    from harness.cli.dev import run_lock

    run_lock()


namespace = Collection(
    audit, bench, check, compare, destroy, doctor, fuzz, lint, lock, provision, quickstart, report, scenarios,
    selfbench, status, test, watch,
)  # fmt: skip
namespace.configure({"run": {"in_stream": False}})
