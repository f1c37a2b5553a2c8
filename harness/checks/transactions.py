"""The checks of the scenarios over POST /api/txn: `list-append` and `bank`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from harness.checks import names
from harness.checks.finding import finding, no_samples
from harness.histories.bank import analyse_bank
from harness.histories.list_append import Analysis, analyse
from harness.histories.recorded import Recorded, recorded, transactions
from harness.histories.transaction import Anomaly
from harness.load.transactions import Transactions
from harness.model import Cell, Finding, verdict_from
from harness.record import TrialRecord, distinct
from harness.text import plural

MIN_SHARE = 0.5
"""Least share of the transactions that must be acknowledged for a pass: fewer are not the test that was asked for."""
LEAST_BESIDE_FAULTS = 1_000
"""Acknowledged transactions that are enough where faults were injected: a closed load spends the rest of its requests
on refusals while nothing can be served."""
CONTROLS: Mapping[str, str] = {
    "READ UNCOMMITTED": "G-single",
    "READ COMMITTED": "G-single",
    "REPEATABLE READ": "G2-item",
}
"""Level -> an anomaly that it allows. A load that does not cause it could not have caused worse."""


def history_of(measured: TrialRecord, drawn: Transactions) -> list[Recorded]:
    """Returns the transactions of the lane `main`."""
    samples = distinct(measured.main)
    return recorded(
        samples,
        measured.evidence.captures.get("main", ()),
        drawn,
        seed=measured.row.trial.seed,
        one_clock=measured.clock_shared or len(set(samples.load_host)) < 2,
    )


def check_list_append(measured: TrialRecord, level: str, drawn: Transactions) -> list[Finding]:
    """No anomaly that the level forbids; an anomaly that it allows, as a control; strict serializability."""
    cell = measured.cell
    if "main" not in measured.lanes:
        return [no_samples(cell, names.NO_FORBIDDEN_ANOMALY)]
    history = history_of(measured, drawn)
    found = analyse(transactions(history))
    findings = [_forbidden(cell, level, found, history, beside_faults=bool(measured.evidence.faults))]
    if control := CONTROLS.get(level):
        findings.append(_control(cell, level, control, found))
    else:
        findings.append(_strict(cell, found))
    return findings


def _forbidden(cell: Cell, level: str, found: Analysis, history: list[Recorded], *, beside_faults: bool) -> Finding:
    unreadable = [each.seq for each in history if each.unreadable]
    broken = found.forbidden(level)
    wanted = MIN_SHARE * len(history)
    if beside_faults:
        wanted = min(wanted, LEAST_BESIDE_FAULTS)
    enough = found.committed >= wanted and found.reads > 0
    counts = (
        f"{found.committed:,} of {plural(len(history), 'transaction')} committed, {found.failed:,} failed, "
        f"{found.unknown:,} unknown ({found.resolved:,} of them seen)"
    )
    if broken:
        text = f"{level} excludes {', '.join(each.kind for each in broken)}: {broken[0].detail}; {counts}"
    elif unreadable:
        text = f"{plural(len(unreadable), 'answer')} without usable results, the first of request {unreadable[0]}"
    elif not found.reads:
        text = f"no list was read: {counts}"
    else:
        shown = ", ".join(each.kind for each in found.anomalies)
        text = f"no anomaly that {level} excludes{f'; seen, as it allows: {shown}' if shown else ''}; {counts}"
    return finding(
        cell,
        names.NO_FORBIDDEN_ANOMALY,
        verdict_from(failed=bool(broken), passed=enough and not unreadable),
        text,
        level=level,
        transactions=len(history),
        committed=found.committed,
        failed=found.failed,
        unknown=found.unknown,
        resolved=found.resolved,
        operations=found.operations,
        reads=found.reads,
        anomalies=dict(found.counts),
        forbidden=[each.kind for each in broken],
        witness=[_witness(each) for each in found.anomalies],
    )


def _witness(anomaly: Anomaly) -> dict[str, object]:
    """An anomaly as plain data, for run.yml and the report."""
    return {
        "kind": anomaly.kind,
        "lines": anomaly.lines(),
        "txns": [{"name": str(txn), "ops": txn.describe()} for txn in anomaly.txns],
        "steps": [[f"T{step.before}", step.kind, f"T{step.after}"] for step in anomaly.steps],
    }


def _control(cell: Cell, level: str, control: str, found: Analysis) -> Finding:
    anomaly = found.first(control)
    if anomaly is None:
        text = f"no {control} was found, which {level} allows: the transactions did not interleave enough"
        return finding(cell, names.ALLOWED_ANOMALY, "unknown", text)
    text = f"{control} occurred, as {level} allows: {anomaly.detail}"
    return finding(cell, names.ALLOWED_ANOMALY, "shown", text)


def _strict(cell: Cell, found: Analysis) -> Finding:
    """PostgreSQL promises a serial order, not one that respects real time, so this cannot fail."""
    if found.anomalies:
        return finding(cell, names.STRICT, "shown", "not strictly serializable: an anomaly was found")
    if found.strict is not None:
        text = f"a serial order exists, but none that respects real time: {found.strict.detail}"
        return finding(cell, names.STRICT, "shown", text, witness=[_witness(found.strict)])
    return finding(cell, names.STRICT, "shown", "the serial order respects real time: strictly serializable")


def check_ledger_ids(measured: TrialRecord) -> Finding:
    """Every acknowledged id is in the ledger, no failed one; the ledger has no id that was not sent."""
    cell, ledger = measured.cell, measured.evidence.ledger
    if "main" not in measured.lanes:
        return no_samples(cell, names.LEDGER)
    samples = distinct(measured.main)
    if ledger is None or not any(samples.id):
        return finding(cell, names.LEDGER, "unknown", "no ledger was read for this trial")
    outcomes = dict(zip(samples.id, samples.outcome, strict=True))
    absent = [ident for ident, outcome in outcomes.items() if outcome == "ok" and ident not in ledger]
    applied = [ident for ident, outcome in outcomes.items() if outcome == "fail" and ident in ledger]
    problems = [f"{ident} was acknowledged but is absent" for ident in absent]
    problems += [f"{ident} failed but is present" for ident in applied]
    problems += [f"{ident} was not sent" for ident in ledger.keys() - outcomes.keys()]
    counted = Counter(outcomes.values())
    if problems:
        return finding(cell, names.LEDGER, "fail", f"{len(problems):,} ids differ; {problems[0]}", lost=len(absent))
    text = f"{len(ledger):,} rows for {counted['ok']:,} acknowledged and {counted['unknown']:,} unknown ids"
    return finding(cell, names.LEDGER, verdict_from(failed=False, passed=counted["ok"] > 0), text, rows=len(ledger))


def check_bank(measured: TrialRecord, drawn: Transactions, *, control: bool) -> list[Finding]:
    """Each read of all accounts has the same total, and no balance is below 0.

    `control`: a level at which a transfer is not safe: the wrong totals are shown, and the check is unknown without.
    """
    cell = measured.cell
    if "main" not in measured.lanes:
        return [no_samples(cell, names.TOTAL), no_samples(cell, names.NO_OVERDRAFT)]
    history = history_of(measured, drawn)
    found = analyse_bank(history, drawn.keys)
    unreadable = sum(each.unreadable for each in history)
    moved = f"{found.transfers:,} transfers moved money, {found.refused:,} were refused"
    numbers = {
        "reads": found.reads, "transfers": found.transfers, "refused": found.refused, "wrong": len(found.wrong),
        "overdrawn": len(found.overdrawn), "total": found.total, "least": found.least, "most": found.most,
    }  # fmt: skip
    if control:
        text = (
            f"{len(found.wrong):,} of {found.reads:,} reads have another total than {found.total:,} "
            f"({found.least:,} to {found.most:,}, the last {found.last:,}), as a read and a later write allow; {moved}"
            if found.wrong
            else f"all {found.reads:,} reads have the same total: the transfers did not interleave enough"
        )
        return [finding(cell, names.NEGATIVE_CONTROL, "shown" if found.wrong else "unknown", text, **numbers)]
    passed = not unreadable and found.reads > 0 and found.transfers > 0
    doubt = f"; {unreadable:,} answers without usable results" if unreadable else ""
    total = found.wrong[0] if found.wrong else f"all {found.reads:,} reads have the total {found.total:,}; {moved}"
    over = found.overdrawn[0] if found.overdrawn else f"no balance below 0 in {found.reads:,} reads; {moved}"
    return [
        finding(cell, names.TOTAL, verdict_from(failed=bool(found.wrong), passed=passed), total + doubt, **numbers),
        finding(cell, names.NO_OVERDRAFT, verdict_from(failed=bool(found.overdrawn), passed=passed), over + doubt),
    ]
