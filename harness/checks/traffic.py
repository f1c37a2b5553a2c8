"""Checks for every scenario: requests acknowledged, spread evenly over hosts, counted alike by every layer. Pure.

The checks of the counters are in counter_oracle.py; those of one scenario are beside its workload.
"""

from __future__ import annotations

from collections import Counter

from harness.checks import names
from harness.checks.finding import finding
from harness.checks.required_evidence import APP, COUNTERS, HAPROXY
from harness.load.outcome import CLOSED_WHILE_IDLE
from harness.model import ALWAYS_WRITE, Cell, Finding, OutcomeCounts
from harness.record import NO_OTHERS, Evidence, Samples, count_outcomes, increments

OTHERS = 20
"""Transactions during a trial that may not be the load's: autovacuum, or requests that timed out and still run."""


def check_acknowledged(cell: Cell, samples: Samples, *, expected: int) -> Finding:
    """All `expected` requests were acknowledged. The other ones are counted by error."""
    sent = len(samples)
    if not expected and not sent:
        return finding(cell, names.ACKNOWLEDGED, "unknown", "no request was recorded", ok=0, expected=0)
    ok = sum(1 for outcome in samples.outcome if outcome == "ok")
    text = f"{ok:,} of {expected:,} acknowledged"
    if ok == expected == sent:
        return finding(cell, names.ACKNOWLEDGED, "pass", f"{text} (100 %)", ok=ok, expected=expected)
    idle = sum(closed_while_idle(samples, row) for row in range(sent))
    if idle and ok + idle == expected == sent:
        return finding(cell, names.ACKNOWLEDGED, "unknown", f"{text}: {idle_cause(idle)}", ok=ok, expected=expected)
    errors = Counter(
        error or outcome for outcome, error in zip(samples.outcome, samples.error, strict=True) if outcome != "ok"
    )
    reasons = [", ".join(f"{count:,} x {error}" for error, count in errors.most_common(4))] if errors else []
    if sent != expected:
        reasons.insert(0, f"{sent:,} requests recorded instead of {expected:,}")
    share = ok / expected if expected else 0.0
    detail = f"{text} ({share:.1%}): {'; '.join(reasons)}"
    return finding(cell, names.ACKNOWLEDGED, "fail", detail, ok=ok, expected=expected, errors=dict(errors))


def closed_while_idle(samples: Samples, row: int) -> bool:
    """Whether the request met the end of an idle connection. A response has a status; its text could say the same."""
    return samples.error[row] == CLOSED_WHILE_IDLE and not samples.status[row]


def idle_cause(count: int) -> str:
    """Why these requests ended, for a finding: their connections were idle, so they show nothing about the load."""
    return (
        f"{count:,} x {CLOSED_WHILE_IDLE}: the service closes connections without a request for 0.2 s or longer, "
        "and the load opens them before it begins; raise the service's idle time-out, or use fewer clients"
    )


def check_spread(
    cell: Cell, requests: Samples | OutcomeCounts, evidence: Evidence, *, tolerance: float = 0.1
) -> Finding:
    """Each app host got its even share of the requests, within `tolerance` of it (at least 3 requests).

    Counted by the hosts that the responses name; without samples by HAProxy.
    """
    if APP in evidence.unread:  # a host that restarted answers fewer requests
        return finding(cell, names.SPREAD, "unknown", f"not measured: {evidence.unread[APP]}")
    if isinstance(requests, Counter):
        if HAPROXY in evidence.unread:
            return finding(cell, names.SPREAD, "unknown", f"not measured: {evidence.unread[HAPROXY]}")
        shares = Counter({host: count for host, count in evidence.servers.items() if count})
    else:
        shares = Counter(host for host in requests.host if host)
    if not shares:
        return finding(cell, names.SPREAD, "unknown", "no response named its host")
    even = shares.total() / cell.hosts
    allowed = max(3.0, even * tolerance)
    farthest, count = max(shares.items(), key=lambda item: abs(item[1] - even))
    counts = ", ".join(f"{host} {number:,}" for host, number in sorted(shares.items()))
    if len(shares) != cell.hosts:
        verdict, text = False, f"{len(shares)} hosts responded, expected {cell.hosts}: {counts}"
    elif abs(count - even) > allowed:
        verdict, text = False, f"{farthest} responded to {count:,} requests, its even share is {even:,.0f}: {counts}"
    else:
        verdict, text = True, f"even over {cell.hosts} hosts: {counts}"
    return finding(cell, names.SPREAD, verdict, text, shares=dict(sorted(shares.items())), even=even)


def check_transactions(cell: Cell, requests: Samples | OutcomeCounts, evidence: Evidence) -> Finding:
    """The service's count of its database transactions agrees with the transaction ids that PostgreSQL assigned.

    A transaction gets an id when it first locks or writes a row (manual, "Transactions and Identifiers"), immediately
    and exactly; pg_stat_database counts the others too, but up to ten seconds late. So there are never more ids than
    transactions. For strategies whose every transaction writes there are as many, except for transactions that ended
    while they waited for a row lock, for example by a timeout; their requests were not acknowledged.
    """
    counts = evidence.transactions
    if counts is None:
        return finding(cell, names.TRANSACTIONS, "unknown", "the database's count was not read")
    begun, assigned = counts.app, counts.database
    text = f"the service reports {begun:,} transactions, {assigned:,} wrote in the database"
    if not begun and not assigned:
        return finding(cell, names.TRANSACTIONS, "unknown", text, app=begun, database=assigned)
    rejected = sum(number for (_, _, outcome), number in count_outcomes(requests).items() if outcome != "ok")
    if rejected:
        text += f"; {rejected:,} requests were not acknowledged"
    too_few = assigned > begun + OTHERS
    too_many = cell.strategy in ALWAYS_WRITE and begun > assigned + OTHERS + rejected
    return finding(cell, names.TRANSACTIONS, not (too_few or too_many), text, app=begun, database=assigned)


def check_counts(
    cell: Cell,
    requests: Samples | OutcomeCounts,
    evidence: Evidence,
    *,
    op: str | None = "increment",
    others: OutcomeCounts = NO_OTHERS,
) -> Finding:
    """Client, HAProxy, app and database counted the same requests; layers that differ are named.

    Different counts fail; an invalid trial would not be enough. It may be measured once more, and a proxy that
    sometimes sends a request twice would be measured until it does not. Requests lost, doubled or invented between
    layers are what this check looks for.

    `op`: the operation whose acknowledged requests the database's counters must match; None where the scenario does
    not increment. `others`: requests of other lanes, each of which increments once if it is applied.
    With a layer that was not measured the verdict is unknown, never pass.
    """
    client = evidence.counts.get("client", (count_outcomes(requests) + others).total())
    layers = {layer: evidence.counts[layer] for layer in (HAPROXY, APP) if layer in evidence.counts}
    sent = count_outcomes(requests) + others
    acknowledged = sum(number for (_, _, outcome), number in sent.items() if outcome == "ok")
    # a HAProxy that ends may have requests that it never sent on; they are not acknowledged
    least = acknowledged if HAPROXY in evidence.unread else client
    differing = [layer for layer, count in layers.items() if not least <= count <= client]
    counts = dict(evidence.counts)
    if op is not None and COUNTERS not in evidence.unread:
        layers["database"] = counts["database"] = _growth(evidence)
        if not _explained(layers["database"], increments(requests, op, others)):
            differing.append("database")
    words = [f"{layer} {count:,}" for layer, count in {"client": client, **layers}.items()]
    if differing:
        verb = "differs" if len(differing) == 1 else "differ"
        detail = f"{' and '.join(differing)} {verb}: {', '.join(words)}"
        return finding(cell, names.COUNTS_AGREE, "fail", detail, counts=counts)
    missing = [evidence.unread.get(layer, layer) for layer in (HAPROXY, APP) if layer not in layers]
    if op is not None and COUNTERS in evidence.unread:
        missing.append(evidence.unread[COUNTERS])
    if missing:
        notes = f" ({'; '.join(evidence.notes)})" if evidence.notes else ""
        joined = " = " if set(layers.values()) <= {client} else ", "
        detail = f"{joined.join(words)}; not measured: {', '.join(dict.fromkeys(missing))}{notes}"
        return finding(cell, names.COUNTS_AGREE, "unknown", detail, counts=counts)
    return finding(cell, names.COUNTS_AGREE, "pass", " = ".join(words), counts=counts)


def _growth(evidence: Evidence) -> int:
    """The sum of increments over all counters of the database."""
    return sum(value - evidence.initial.get(key, 0) for key, value in evidence.final.items())


def _explained(applied: int, outcomes: OutcomeCounts) -> bool:
    """Whether the acknowledged increments, and some of the unknown ones, make `applied` increments."""
    ended: Counter[str] = Counter()
    for (_, _, outcome), number in outcomes.items():
        ended[outcome] += number
    return ended["ok"] <= applied <= ended["ok"] + ended["unknown"]
