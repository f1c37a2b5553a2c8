"""The tasks of pgcrucible: `./run TASK`, or `invoke TASK` in the activated .venv.

Only options and exit codes are here; harness/cli/ does the work. Heavy imports are inside the tasks, because tab
completion imports this file on every TAB.

Exit codes: 0 all criteria pass, 1 a criterion fails, 2 usage or configuration, 3 the rig could not be built or
reached, 4 the measurement is invalid, 70 a defect of pgcrucible, 130 interrupted (by SIGTERM: 143, by SIGHUP: 129).
"""

from __future__ import annotations

from invoke import Collection, Context

from harness.cli.develop_tasks import audit, completion, docs, fuzz, lint, lock, selfbench, test
from harness.cli.task import Texts, task
from harness.model import MAX_HOSTS
from harness.plan.options import OPTIONS

COMMON = {
    "rig": "name of the rig (default: local); several rigs can exist at the same time",
    "run": "folder of a run, or its id under results/ (default: the newest)",
    "hosts": f"number of app hosts, 1 to {MAX_HOSTS}",
    "json": "print JSON instead of text",
    "quiet": "print no progress, only warnings and the result",
}


@task(
    hosts="number of app hosts to plan for (default: 8), beside a database, load balancer and load host",
    json=COMMON["json"],
)
def doctor(_: Context, hosts: str | None = None, json: bool = False) -> None:
    """Check whether this machine can host a rig, and print a fix for each problem."""
    from harness.cli.rigs import run_doctor

    run_doctor(hosts=hosts, as_json=json)


@task(
    rig=COMMON["rig"],
    inventory="inventory file (default: inventory/local.yml)",
    provider="podman, vm or static (default: the inventory's)",
    hosts=COMMON["hosts"],
    only="repeat the roles on these hosts alone, after a failure: app-1,app-2",
    dry_run="show what would change, and change nothing",
    quiet=COMMON["quiet"],
    json="with --dry-run: print JSON",
)
def provision(
    _: Context,
    rig: str = "local",
    inventory: str | None = None,
    provider: str | None = None,
    hosts: str | None = None,
    only: str | None = None,
    dry_run: bool = False,
    quiet: bool = False,
    json: bool = False,
) -> None:
    """Build the rig or bring it up to date: hosts, network and roles; verify.yml checks the result."""
    from harness.cli.rigs import run_provision

    run_provision(rig, inventory, provider, hosts, only=only, dry_run=dry_run, quiet=quiet, as_json=json)


@task(*OPTIONS.values())
def bench(_: Context, **texts: str | bool | None) -> None:
    """Measure scenarios on a rig or a service, check the results, store the run under results/ and print a summary."""
    from harness.cli.bench import run_bench

    run_bench(**texts)


@task(run=COMMON["run"], recheck="run whose stored samples today's checks judge; prints what differs")
def check(_: Context, run: str | None = None, recheck: str | None = None) -> None:
    """Judge a stored run with pytest, one test per criterion."""
    from harness.cli.runs import run_check, run_recheck

    if recheck:
        run_recheck(recheck)
    else:
        run_check(run)


@task(
    run=COMMON["run"],
    json="print run.yml as JSON instead of text",
    compare="compare runs with the first, the baseline, and write their page: A B [C…]; A alone: with --run",
    anyway="with --compare: compare runs of different environments; recorded in the run",
    trend="scenario: write a page about it over all stored runs of the rig",
    rig="with --trend: name of the rig (default: local)",
    out="with --compare or --trend: file of the page (default: in results/)",
    format="text (default), md (for a pull request) or json (the page as data); md and json leave the page alone",
    svg="folder to write each picture of the page to, each in a separate file",
    junit="file to write the checks to, as JUnit XML",
    open="open the page in the browser",
)
def report(
    _: Context,
    run: str | None = None,
    json: bool = False,
    compare: Texts = None,
    anyway: bool = False,
    trend: str | None = None,
    rig: str | None = None,
    out: str | None = None,
    format: str | None = None,
    svg: str | None = None,
    junit: str | None = None,
    open: bool = False,
) -> None:
    """Print the summary of a run and rewrite its report.html; or give it in other forms, or a page of several runs."""
    from harness.cli.report_outputs import Outputs, run_outputs
    from harness.cli.report_pages import run_comparison_page, run_trend_page
    from harness.cli.runs import run_report
    from harness.errors import UsageError

    outputs = Outputs(format=format, svg=svg, junit=junit, open=open)
    for option, given in (("--trend", trend), ("--compare", compare), ("--json", json)):
        if given:
            outputs.require_alone(option)
    if trend and (compare or run or anyway):
        raise UsageError("--trend is about all runs of a rig", hint="./run report --trend SCENARIO --rig NAME")
    if rig and not trend:
        raise UsageError(
            "--rig needs --trend", hint="a run is named by --run RUN, and ./run ls has all; --trend SCENARIO --rig NAME"
        )
    if json and out:
        raise UsageError(
            "--out does not go with --json", hint="--json prints and writes no page: ./run report … > FILE"
        )
    if trend:
        run_trend_page(trend, rig or "local", out=out, as_json=json)
    elif compare:
        run_comparison_page(compare, run, anyway=anyway, out=out, as_json=json)
    elif anyway or out:
        needs = "--anyway needs --compare" if anyway else "--out needs --compare or --trend"
        raise UsageError(needs, hint="./run report --compare A B")
    elif outputs:
        run_outputs(run, outputs)
    else:
        run_report(run, as_json=json)


@task(
    a="the baseline: folder or id of a run, or several: A1,A2,A3",
    b="the run that is compared with it, or several: B1,B2,B3",
    anyway="compare runs of different environments; recorded in B",
    fail_if="exit with 1 if B is slower by this much: slower:5%",
    json=COMMON["json"],
)
def compare(_: Context, a: str, b: str, anyway: bool = False, fail_if: str | None = None, json: bool = False) -> None:
    """Compare runs: per cell and metric the ratio, its interval, and whether it is a significant difference."""
    from harness.cli.runs import run_compare

    run_compare(a, b, anyway=anyway, fail_if=fail_if, as_json=json)


@task(
    rig=COMMON["rig"],
    seconds="stop after this many seconds (default: run until Ctrl-C)",
    interval="seconds between two updates (default: 2)",
)
def watch(_: Context, rig: str = "local", seconds: str | None = None, interval: str = "2") -> None:
    """Show active queries, lock waits, connection pools and HAProxy rates, live."""
    from harness.cli.watch import run_watch
    from harness.plan.option_values import positive

    run_watch(rig, positive("seconds", seconds, 86_400), positive("interval", interval, 60) or 2.0)


@task(json=COMMON["json"])
def scenarios(_: Context, json: bool = False) -> None:
    """List the scenarios: the question and the criteria of each."""
    from harness.cli.runs import run_scenarios

    run_scenarios(as_json=json)


@task(
    host="name of the host, as ./run status lists it",
    rig=COMMON["rig"],
    unit="systemd unit (default: the service of the host's role)",
    lines="number of lines, the newest (default: 200)",
    follow="print new lines as they come, until Ctrl-C",
)
def logs(
    _: Context, host: str, rig: str = "local", unit: str | None = None, lines: str | None = None, follow: bool = False
) -> None:
    """Print the log of a host: PostgreSQL's, HAProxy's, the service's, or that of a unit."""
    from harness.cli.hosts import run_logs

    run_logs(rig, host, unit=unit, lines=lines, follow=follow)


@task(host="name of the host, as ./run status lists it", rig=COMMON["rig"])
def ssh(_: Context, host: str, rig: str = "local") -> None:
    """Open a shell on a host, or run the command after `--` there; its exit code is that of the task."""
    from harness.cli.hosts import after_dashes, run_ssh

    run_ssh(rig, host, after_dashes())


@task(rig=COMMON["rig"])
def psql(_: Context, rig: str = "local") -> None:
    """Open psql on the rig's database as its superuser; what follows `--` are options of psql."""
    from harness.cli.hosts import after_dashes, run_psql

    run_psql(rig, after_dashes())


@task(
    rig=COMMON["rig"],
    port="port of 127.0.0.1 to listen on (default: a free one)",
    stop="end it; its data stay until the rig is destroyed",
)
def pgadmin(_: Context, rig: str = "local", port: str | None = None, stop: bool = False) -> None:
    """Start pgAdmin in the background on this machine's loopback, with the rig's database entered."""
    from harness.cli.pgadmin import run_pgadmin

    run_pgadmin(rig, port=port, stop=stop)


@task(json=COMMON["json"])
def ls(_: Context, json: bool = False) -> None:
    """List the stored runs, the newest first: verdict, trials, size and what was measured."""
    from harness.cli.stored_runs import run_ls

    run_ls(as_json=json)


@task(run="folder of the run, or its id under results/", yes="do not ask for confirmation")
def rm(_: Context, run: str, yes: bool = False) -> None:
    """Remove a stored run."""
    from harness.cli.stored_runs import run_rm

    run_rm(run, yes=yes)


@task(schema="print the JSON Schema of pgcrucible.yml, for editors", json=COMMON["json"])
def config(_: Context, schema: bool = False, json: bool = False) -> None:
    """Print each setting of the configuration and where it comes from: default, pgcrucible.yml or environment."""
    from harness.cli.show_config import run_config

    run_config(schema=schema, as_json=json)


@task(rig=COMMON["rig"], json=COMMON["json"])
def status(_: Context, rig: str | None = None, json: bool = False) -> None:
    """Show the current state of the rigs and their hosts."""
    from harness.cli.rigs import run_status

    run_status(rig, as_json=json)


@task(
    rig=COMMON["rig"],
    yes="do not ask for confirmation",
    purge="also remove cached images and wheels",
    take_over="also remove what another checkout of this machine created under this name",
    forget="delete the rig's state even if a machine cannot be cleaned, because it is gone",
)
def destroy(
    _: Context,
    rig: str = "local",
    yes: bool = False,
    purge: bool = False,
    take_over: bool = False,
    forget: bool = False,
) -> None:
    """Remove the rig and verify that nothing remains."""
    from harness.cli.rigs import run_destroy

    run_destroy(rig, yes=yes, purge=purge, take_over=take_over, forget=forget)


@task(rig=COMMON["rig"])
def heal(_: Context, rig: str = "local") -> None:
    """Undo faults that an interrupted bench left on the rig, and print what was undone."""
    from harness.cli.rigs import run_heal

    run_heal(rig)


@task(rig=COMMON["rig"], hosts=COMMON["hosts"])
def quickstart(_: Context, rig: str = "local", hosts: str | None = None) -> None:
    """Provision a rig, bench concurrent-writes, check the run and print its report."""
    from harness.cli.quickstart import run_quickstart

    run_quickstart(rig, hosts=hosts)


namespace = Collection(
    audit, bench, check, compare, completion, config, destroy, docs, doctor, fuzz, heal, lint, lock, logs, ls,
    pgadmin, provision, psql, quickstart, report, rm, scenarios, selfbench, ssh, status, test, watch,
)  # fmt: skip
namespace.configure({"run": {"in_stream": False}})
