"""Checks that hold for every scenario: all acknowledged, evenly spread, counted alike by every layer. Pure.

The counters' own oracle is oracle.py; a scenario's own checks stand beside its workload.
"""

from __future__ import annotations

from collections import Counter

from harness.checks import names
from harness.checks.finding import finding
from harness.model import Cell, Finding, OutcomeCounts
from harness.record import Evidence, Samples, count_outcomes

ALWAYS_WRITE = ("upsert", "for-update", "coalesce")
"""Strategies whose every transaction locks or writes a row; the others also read in transactions of their own."""
OTHERS = 20
"""Transactions of a trial that may be somebody else's: autovacuum's, or requests that were given up and go on."""


def check_acknowledged(cell: Cell, samples: Samples, *, expected: int) -> Finding:
    """Were all `expected` requests acknowledged? Names the kinds of refusal with their counts."""
    ok = sum(1 for outcome in samples.outcome if outcome == "ok")
    if not expected and not len(samples):
        return finding(cell, names.ACKNOWLEDGED, "unknown", "no request was recorded", ok=0, expected=0)
    share = ok / expected if expected else 0.0
    if ok == expected == len(samples):
        return finding(
            cell,
            names.ACKNOWLEDGED,
            "pass",
            f"{ok:,} of {expected:,} acknowledged (100 %)",
            ok=ok,
            expected=expected,
        )
    kinds = Counter(
        error or outcome for outcome, error in zip(samples.outcome, samples.error, strict=True) if outcome != "ok"
    )
    why = ", ".join(f"{count:,} x {kind}" for kind, count in kinds.most_common(4))
    if len(samples) != expected:
        why = f"{len(samples):,} requests recorded instead of {expected:,}" + (f"; {why}" if why else "")
    return finding(
        cell,
        names.ACKNOWLEDGED,
        "fail",
        f"{ok:,} of {expected:,} acknowledged ({share:.1%}): {why}",
        ok=ok,
        expected=expected,
        errors=dict(kinds),
    )


def check_spread(
    cell: Cell, requests: Samples | OutcomeCounts, evidence: Evidence, *, tolerance: float = 0.1
) -> Finding:
    """Round robin gave each app host its even share, within `tolerance` of it (at least 3 requests).

    By the hosts that the answers name; where no samples were kept, by HAProxy's count.
    """
    if isinstance(requests, Counter):
        shares = Counter({host: count for host, count in evidence.servers.items() if count})
    else:
        shares = Counter(host for host in requests.host if host)
    total = sum(shares.values())
    if not total:
        return finding(cell, names.SPREAD, "unknown", "no answer named its host")
    even = total / cell.hosts
    allowed = max(3.0, even * tolerance)
    worst, count = max(list(shares.items()) or [("", 0)], key=lambda item: abs(item[1] - even))
    said = ", ".join(f"{host} {count:,}" for host, count in sorted(shares.items()))
    numbers = {"shares": dict(sorted(shares.items())), "even": even}
    if len(shares) != cell.hosts:
        return finding(
            cell,
            names.SPREAD,
            "fail",
            f"{len(shares)} hosts answered, {cell.hosts} were meant to: {said}",
            **numbers,
        )
    if abs(count - even) > allowed:
        return finding(
            cell,
            names.SPREAD,
            "fail",
            f"{worst} answered {count:,} where {even:,.0f} is even: {said}",
            **numbers,
        )
    return finding(cell, names.SPREAD, "pass", f"even over {cell.hosts} hosts: {said}", **numbers)


def check_transactions(cell: Cell, requests: Samples | OutcomeCounts, evidence: Evidence) -> Finding:
    """What the service says of its database transactions, against the transaction ids that PostgreSQL gave out.

    A transaction takes an id when it first locks or writes a row (manual, "Transactions and Identifiers"), at once and
    exactly; pg_stat_database counts the others too, but as much as ten seconds late. So there are never more ids than
    transactions, and for strategies whose every transaction writes, as many; but for those that ended, by a timeout
    say, while they waited for a row to lock. Such a one left its request without an acknowledgement.
    """
    counts = evidence.transactions
    if counts is None:
        return finding(cell, names.TRANSACTIONS, "unknown", "what the database counted was not read")
    said, given = counts.app, counts.database
    text = f"the service says that it began {said:,} transactions, {given:,} have written in the database"
    if not said and not given:
        return finding(cell, names.TRANSACTIONS, "unknown", text, app=said, database=given)
    refused = sum(number for (_, _, outcome), number in count_outcomes(requests).items() if outcome != "ok")
    if refused:
        text += f"; {refused:,} requests were not acknowledged"
    few = given > said + OTHERS
    many = cell.strategy in ALWAYS_WRITE and said > given + OTHERS + refused
    return finding(cell, names.TRANSACTIONS, not (few or many), text, app=said, database=given)


def check_counts(
    cell: Cell, requests: Samples | OutcomeCounts, evidence: Evidence, *, op: str | None = "increment"
) -> Finding:
    """Client, HAProxy, app and database saw the same requests; the first layer that differs is named.

    Counts that differ fail, which goes beyond "the trial is invalid": an invalid trial may be measured once more, so a
    proxy that sends a request twice now and then would be measured until it did not. And the layer needs a finding to
    be named in: requests lost, doubled or invented between layers are what the tier is asked about.

    `op`: the operation whose acknowledged requests the database's counters must match; None where the
    scenario does not increment. A layer that was not measured makes the answer unknown, never pass.
    """
    counts = dict(evidence.counts)
    counted = count_outcomes(requests)
    sent = counts.get("client", counted.total())
    applied = sum(value - evidence.initial.get(key, 0) for key, value in evidence.final.items())
    said = [f"client {sent:,}"]
    differing: list[str] = []
    absent: list[str] = []
    for layer in ("haproxy", "app"):
        if layer not in counts:
            absent.append(layer)
            continue
        said.append(f"{layer} {counts[layer]:,}")
        if counts[layer] != sent:
            differing.append(layer)
    if op is not None:
        ended: Counter[str] = Counter()
        for (name, _, outcome), number in counted.items():
            ended[outcome] += number * (name == op)
        said.append(f"database {applied:,}")
        counts["database"] = applied
        if not ended["ok"] <= applied <= ended["ok"] + ended["unknown"]:
            differing.append("database")
    text = " = ".join(said) if not differing else ", ".join(said)
    if differing:
        return finding(
            cell,
            names.COUNTS_AGREE,
            "fail",
            f"{' and '.join(differing)} differ{'s' if len(differing) == 1 else ''}: {text}",
            counts=counts,
        )
    if absent:
        why = f" ({'; '.join(evidence.notes)})" if evidence.notes else ""
        return finding(
            cell,
            names.COUNTS_AGREE,
            "unknown",
            f"{text}; not measured: {', '.join(absent)}{why}",
            counts=counts,
        )
    return finding(cell, names.COUNTS_AGREE, "pass", text, counts=counts)
