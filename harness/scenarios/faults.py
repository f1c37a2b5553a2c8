"""Faults under load: each is injected, seen and healed while increments run, and every request is accounted for.

A short closed load gives the order of magnitude; each fault then has an open load at a share of that rate, far below
saturation, so that what fails or waits is the fault's doing. Requests are due whether or not earlier ones were
answered: an outage of five seconds is five seconds of requests that wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.checks.counter_oracle import check_final_value, check_real_time_order, check_value_sequence
from harness.checks.fault_account import own_evidence
from harness.checks.faults import check_faults
from harness.errors import UsageError
from harness.load.spec import KeyKind, Keys, LoadSpec
from harness.model import Cell, Finding, Trial
from harness.plan.fault_schedule import (
    APP_ROLL,
    CONTROLS,
    FORGETS_DRAINED,
    KINDS,
    LOAD_HOST_KILL,
    MIXED_S,
    QUICK,
    QUICK_MIXED_S,
    QUICK_S,
    is_mixed,
    load_s,
    schedule,
)
from harness.plan.load_share import open_cell
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip, backend_name, joined
from harness.record import Evidence, TrialRecord
from harness.scenarios.increment_workload import check_counters, increment, strategies

CLIENTS = 64
SHARE = 0.4
"""Half of the tier can fail and the rest still serves the load."""
GLANCE_S, QUICK_GLANCE_S = 2.0, 1.0
RETRIES = 4
CONNECTIONS = 1024
"""Of the open load: those that wait for a sick host must leave enough for the others, until it is out of rotation."""
TIMEOUT_S = 30.0


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans the closed cell, then one for each fault. Raises Skip, and UsageError for a fault that cannot be had."""
    _require_fitting(options)
    hosts = site.serving(options.hosts, site.hosts)
    names = chosen(options, site, hosts)
    found = []
    for strategy in strategies(options, site, "postgres", ("upsert",)):
        glance = Cell(
            scenario="faults",
            strategy=strategy,
            hosts=hosts,
            clients=options.clients or CLIENTS,
            seconds=QUICK_GLANCE_S if options.quick else GLANCE_S,
            params=_control(options),
        )
        found += [glance] if options.rate is None else []
        found += [_cell(name, glance, options, site) for name in names]
    return found


def _require_fitting(options: BenchRequest) -> None:
    if options.aa:
        raise Skip(f"{_SINGLE}, which have no noise floor")
    if options.requests is not None:
        raise Skip(f"--requests {options.requests:,}: faults needs a load of a fixed time: use --seconds")
    if options.vary or options.variants:
        raise Skip(f"{_SINGLE}, which blocks do not compare: run it once for each setting")


_SINGLE = "its figures are of single events"


def _control(options: BenchRequest) -> dict[str, object]:
    if not options.control:
        return {}
    return {"control": options.control, **CONTROLS[options.control].params}


def chosen(options: BenchRequest, site: Site, hosts: int) -> Sequence[str]:
    """The faults to inject where `hosts` app hosts serve.

    Raises Skip where none is possible, UsageError for one that was asked for and is not possible.
    """
    missing = without(site, hosts)
    asked = options.faults or ((CONTROLS[options.control].fault,) if options.control else ())
    for name in asked:
        if name in missing:
            others = "" if set(KINDS) <= set(missing) else "./run bench --scenario faults injects the others"
            raise UsageError(f"--fault {name}: {missing[name]}", hint=others or "docs/faults.md says what faults need")
    names = asked or [name for name in (QUICK if options.quick else KINDS) if name not in missing]
    if not names or set(KINDS) <= set(missing):
        raise Skip(next(iter(missing.values()), "no fault can be injected here"))
    return names


def left_out(options: BenchRequest, site: Site) -> dict[str, str]:
    """Returns the faults that are not injected, unless the request names what it wants."""
    if options.faults or options.control:
        return {}
    wanted, missing = QUICK if options.quick else KINDS, without(site, site.serving(options.hosts, site.hosts))
    return {f"{name} of faults": why for name, why in missing.items() if name in wanted}


def without(site: Site, hosts: int) -> Mapping[str, str]:
    """Returns the faults that cannot be injected where `hosts` app hosts serve, each with the reason."""
    missing = {name: site.faults.get(name, _NOT_HERE) for name in KINDS if site.faults.get(name, _NOT_HERE)}
    if site.load_hosts < 2:
        missing.setdefault(LOAD_HOST_KILL, "the rig has one load host, which would leave no load")
    if hosts < 2:
        missing.setdefault(APP_ROLL, "a rolling restart needs two app hosts that serve")
    if hosts < site.hosts:
        text = f"HAProxy serves from drained hosts again after it: use all {site.hosts} app hosts"
        missing |= {name: text for name in FORGETS_DRAINED if name not in missing}
    return missing


def mixed_params(options: BenchRequest, site: Site, hosts: int) -> dict[str, object]:
    """Returns what a mixed schedule is made from, besides its name: params of its cell."""
    missing = [name for name in without(site, hosts) if name != LOAD_HOST_KILL]
    return {"seed": options.seed} | ({"without": "+".join(missing)} if missing else {})


def require_schedule(cell: Cell) -> None:
    """Raises UsageError where the cell's load is too short for a fault, or its reduced schedule has no such faults."""
    if not schedule(cell):
        text = f"--fault {cell.params['fault']} --seconds {cell.seconds:g}: the load is too short for a fault"
        raise UsageError(text, hint="give 30 s or more")


_NOT_HERE = "faults are injected into the hosts of a rig, and only where its inventory allows them"


def _cell(name: str, glance: Cell, options: BenchRequest, site: Site) -> Cell:
    params: dict[str, object] = {"fault": name}
    if is_mixed(name):
        seconds = options.seconds or (QUICK_MIXED_S if options.quick else MIXED_S)
        params |= mixed_params(options, site, glance.hosts)
    else:
        whole_s = load_s(name, glance.hosts) + (CONTROLS[options.control].more_s if options.control else 0.0)
        seconds = options.seconds or (QUICK_S if options.quick else whole_s)
    if options.retry:
        params["retries"] = RETRIES
    share = CONTROLS[options.control].share if options.control else SHARE
    cell = replace(open_cell(glance, seconds, share=share, **params), clients=CONNECTIONS)
    if options.rate is not None:
        kept = {key: value for key, value in cell.params.items() if key != "rate_share"}
        cell = replace(cell, rate=options.rate, params=kept)
    require_schedule(cell)
    return cell


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns increments with an id each, over keys that no other trial uses; the first is hot, but for a control.

    There is no warm-up: the seconds before a fault are what the rest is compared with.
    """
    cell = trial.cell
    control = CONTROLS.get(str(cell.params.get("control", "")))
    kind: KeyKind = "zipf" if control is None or control.hot_key else "uniform"
    operation = increment(cell.strategy, idempotency=cell.params.get("control") != "proxy-replay")
    return {
        "main": LoadSpec(
            mode=cell.mode,
            clients=cell.clients,
            rate=cell.rate,
            seconds=cell.seconds,
            timeout_s=TIMEOUT_S,
            keys=Keys(kind=kind, prefix=f"fault{trial.order}", count=1000),
            operations=(replace(operation, retries=int(cell.params.get("retries", 0))),),
        )
    }


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Every request is accounted for, every fault seen, healed and survived. The closed cell has no fault."""
    cell, samples = measured.cell, measured.main
    own, _ = own_evidence(samples, measured.evidence)
    planned = schedule(cell)
    if not planned:
        return check_counters(replace(measured, evidence=own))
    dead = _dead(measured.evidence)
    findings = check_faults(cell, samples, measured.evidence, planned, timeout_s=TIMEOUT_S, dead=dead)
    if not dead:
        findings += [
            check_final_value(cell, samples, own),
            check_value_sequence(cell, samples, own),
            check_real_time_order(cell, samples, own, clock_shared=measured.clock_shared),
        ]
    return findings


def _dead(evidence: Evidence) -> set[str]:
    """Returns the load hosts without samples; none where one of them was not killed, whose samples nothing replaces."""
    missing = {each.partition(":")[0] for each in evidence.missing_hosts}
    killed = {host for one in evidence.faults if one.planned.fault == LOAD_HOST_KILL for host in one.hosts}
    return missing if missing <= killed else set()


def label(cell: Cell) -> str:
    """Names a cell, such as `db-crash, upsert`, or `PostgreSQL, upsert, without a fault`."""
    fault = str(cell.params.get("fault", ""))
    control = f"control {cell.params['control']}" if cell.params.get("control") else ""
    retry = "with retries" if cell.params.get("retries") else ""
    return joined(fault or backend_name(cell), cell.strategy, control, retry, "" if fault else "without a fault")


SCENARIO = Scenario(
    name="faults",
    question="Which faults does the tier survive, and is every acknowledged write still there?",
    criteria=(
        "no acknowledged write is lost, none is applied twice, none appears that was not sent",
        "a request refused as surely not applied is not applied",
        "every fault is seen to happen, and seen to be healed",
        "requests succeed again by themselves: within 5 s of the instant at which PostgreSQL accepts connections",
        "a sick app host is out of rotation within 3 s, and back within 5 s of the heal",
        "restarting the app hosts one by one, and reloading HAProxy, fails no request",
        "no request hangs until its client gives up",
        "longest time without a success, time until the rate is back, requests failed, p99 before, during and after "
        "(reported only)",
    ),
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    left_out=left_out,
    faults=schedule,
    timing_matters=False,  # the bounds are seconds; what the load generator adds is milliseconds
    postgres_topic="recovery from faults",
    background=(
        "Each fault hits while an open load runs at 40 % of what a short closed load reached. Requests have ids, and "
        "the service writes each id into a ledger in the transaction of its increment, so afterwards every request is "
        "known as applied or not. HAProxy and the service count from zero after a restart, so the counts of the layers "
        "are not compared here."
    ),
)
