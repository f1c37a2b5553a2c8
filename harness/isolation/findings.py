"""The checks of the scenarios `isolation` and (its database part) `deadlocks`. Pure: stored result in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from harness.errors import FormatError
from harness.isolation.deadlock_pairs import MAX_PAIRS, doubts, judge_pair
from harness.isolation.matrix import Stored, matrix, read
from harness.isolation.observe import wrong_levels
from harness.isolation.transcript import LEVEL, from_json
from harness.model import Finding, Verdict

CLOCKS_MS = 1.0
"""How far two hosts' clocks may drift apart, or a timer be early, within a deadlock_timeout."""


def findings_isolation(result: Mapping[str, Any]) -> list[Finding]:
    """Two findings a level: nothing occurred that is documented as prevented; all ran at the level asked.
    On SQLite a third: the file that was worked on is whole.

    An unexpected anomaly comes with its witness in `numbers`. Raises FormatError.
    """
    stored = read(result)
    rows = matrix(stored)
    found = []
    for level in stored.levels:
        found.append(_documented(stored, level, [row for row in rows if row["level"] == level]))
        found.append(_levels(stored, level))
    if stored.backend != "postgres":
        found.append(_integrity(stored, result.get("integrity_check")))
    return found


def _integrity(stored: Stored, said: Any) -> Finding:
    verdict: Verdict = "unknown" if not said else "pass" if said == ["ok"] else "fail"
    lines = said if isinstance(said, list) else ["was not run"]
    return Finding(
        scenario="isolation",
        cell=f"isolation.{stored.backend}.{stored.levels[-1]}",
        check="integrity",
        verdict=verdict,
        detail=f"{stored.version}: PRAGMA integrity_check of the file of the cases: {'; '.join(map(str, lines[:3]))}",
        numbers={"level": stored.levels[-1]},
    )


def _documented(stored: Stored, level: str, rows: list[dict[str, Any]]) -> Finding:
    prevented = [row for row in rows if row["documented"] == "prevented"]
    broken = [row for row in rows if row["verdict"] == "fail"]
    unknown = [row for row in rows if row["verdict"] == "unknown"]
    occurred = [row["case"] for row in rows if row["kind"] == "occurred" and row["verdict"] == "pass"]
    missed = [row["case"] for row in rows if row["not_observed"]]
    if broken:
        names = ", ".join(row["case"] for row in broken)
        detail = f"{len(broken)} of {len(prevented)} anomalies documented as prevented occurred: {names}"
    elif unknown:
        reasons = "; ".join(f"{row['case']}: {row['reason']}" for row in unknown)
        detail = f"{len(unknown)} of {len(rows)} cases said nothing: {reasons}"
    else:
        detail = f"none of the {len(prevented)} anomalies documented as prevented occurred"
    detail += f"; occurred as documented: {', '.join(occurred) or 'none'}"
    detail += f"; possible but not observed: {', '.join(missed)}" if missed else ""
    return Finding(
        scenario="isolation",
        cell=f"isolation.{stored.backend}.{level}",
        check="prevents what it documents",
        verdict="fail" if broken else "unknown" if unknown else "pass",
        detail=f"{stored.version} at {level}: {detail}",
        numbers={
            "level": level,
            "cases": len(rows),
            "documented_prevented": len(prevented),
            "occurred_unexpectedly": [row["case"] for row in broken],
            "occurred_as_documented": occurred,
            "possible_not_observed": missed,
            "unknown": [row["case"] for row in unknown],
            "witness": {row["case"]: row["witness"] for row in (*broken, *unknown)},
        },
    )


def _levels(stored: Stored, level: str) -> Finding:
    here = {case: seen for (case, asked), seen in stored.seen.items() if asked == level}
    wrong = [f"{case}: {fault}" for case, seen in here.items() for fault in wrong_levels(level, seen)]
    asserted = sum(event.label == LEVEL and not event.code for seen in here.values() for event in seen.events)
    verdict: Verdict = "fail" if wrong else "pass" if asserted else "unknown"
    detail = f"all {asserted} transactions said so themselves" if not wrong else "; ".join(wrong)
    return Finding(
        scenario="isolation",
        cell=f"isolation.{stored.backend}.{level}",
        check="runs at the level asked",
        verdict=verdict,
        detail=f"{stored.version} at {level}: {detail}",
        numbers={"level": level, "asserted": asserted, "wrong": len(wrong)},
    )


def findings_deadlocks(result: Mapping[str, Any], *, log_count: int | None = None) -> list[Finding]:
    """Findings for each round of pairs, and one on the total; `log_count`: deadlocks in the server's log, if known.

    Raises FormatError.
    """
    try:
        if not result["rounds"]:
            raise FormatError("a result of the deadlocks without a round")
        found = [finding for stored in result["rounds"] for finding in _round(result, stored)]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"not a result of the deadlocks: {type(error).__name__}: {error}") from error
    total = sum(finding.numbers.get("clients", 0) for finding in found)
    known: Verdict = "unknown" if log_count is None else "pass" if log_count == total else "fail"
    told = "could not be read" if log_count is None else f"tells of {log_count}"
    found.append(
        Finding(
            scenario="deadlocks",
            cell="deadlocks.postgres",
            check="deadlocks in the log",
            verdict=known,
            detail=f"clients saw {total} deadlocks, the server's log {told}",
            numbers={"clients": total, "log": log_count},
        )
    )
    return found


def _round(result: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[Finding]:
    count = int(stored["pairs"])
    if not 1 <= count <= MAX_PAIRS:
        raise ValueError(f"{count} pairs")
    counted = int(stored["counted_after"]) - int(stored["counted_before"])
    timeout_ms = float(result["deadlock_timeout_ms"])
    seen = from_json(stored["transcript"])
    doubt = doubts(seen, count)
    pairs = [judge_pair(seen, number) for number in range(1, count + 1)]
    where = f"{' '.join(str(result['version']).split()[:2])}, {'1 pair' if count == 1 else f'{count} pairs at once'}"

    def finding(check: str, good: bool, detail: str, **numbers: Any) -> Finding:
        verdict: Verdict = "unknown" if doubt else "pass" if good else "fail"
        return Finding(
            scenario="deadlocks",
            cell=f"deadlocks.postgres.pairs={count}",
            check=check,
            verdict=verdict,
            detail=f"{where}: {'; '.join(doubt)}" if doubt else f"{where}: {detail}",
            numbers={"pairs": count, **numbers},
        )

    victims = sum(len(pair.victims) for pair in pairs)
    single = sum(pair.crossed and len(pair.victims) == 1 for pair in pairs)
    applied = sum(pair.applied for pair in pairs)
    faults = "".join(f"; pair {pair.number}: {', '.join(pair.faults)}" for pair in pairs if pair.faults)
    times = [pair.detection_ms for pair in pairs if pair.detection_ms is not None]
    yield finding(
        "one victim a pair",
        single == count > 0,
        f"{single} of {count} crossed pairs had exactly one victim (40P01){faults}",
        single=single,
        victims=victims,
    )
    yield finding(
        "survivor commits",
        applied == count > 0,
        f"in {applied} of {count} one transaction committed and both rows hold what it added, once{faults}",
        applied=applied,
    )
    yield finding(
        "deadlocks counted",
        counted == victims > 0,
        f"clients saw {victims} deadlock{'s' * (victims != 1)}, pg_stat_database counted {counted}",
        clients=victims,
        server=counted,
    )
    shown = f"{min(times):.0f} / {median(times):.0f} / {max(times):.0f} ms" if times else "never"
    yield finding(
        "detected after deadlock_timeout",
        bool(times) and min(times) > timeout_ms - CLOCKS_MS,
        f"from the second update to the error {shown} (min / median / max); deadlock_timeout {timeout_ms:.0f} ms",
        detection_ms=times,
        deadlock_timeout_ms=timeout_ms,
    )
