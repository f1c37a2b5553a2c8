"""The checks of `isolation` and of the direct sessions of `deadlocks`. Pure: stored result in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from harness.checks import names
from harness.errors import FormatError
from harness.isolation.deadlock_pairs import MAX_PAIRS, evaluate_pair, transcript_problems
from harness.isolation.matrix import IsolationResult, MatrixRow, matrix, read
from harness.isolation.observe import wrong_levels
from harness.isolation.transcript import LEVEL, from_json
from harness.model import Finding, verdict_from

CLOCKS_MS = 1.0
"""Tolerance for clock drift between two hosts and for early timers, within one deadlock_timeout."""


def findings_isolation(result: Mapping[str, object]) -> list[Finding]:
    """Returns two findings per level: no anomaly documented as prevented occurred; all transactions ran at that level.
    SQLite has a third: the database file is intact.

    `numbers` holds the transcript of each unexpected anomaly as its witness. Raises FormatError.
    """
    stored = read(result)
    rows = matrix(stored)
    findings = []
    for level in stored.levels:
        findings.append(_documented(stored, level, [row for row in rows if row["level"] == level]))
        findings.append(_levels(stored, level))
    if stored.backend != "postgres":
        findings.append(_integrity(stored, result.get("integrity_check")))
    return findings


def _integrity(stored: IsolationResult, output: Any) -> Finding:
    lines = output if isinstance(output, list) else ["was not run"]
    return Finding(
        scenario="isolation",
        cell=f"isolation.{stored.backend}.{stored.levels[-1]}",
        check=names.INTEGRITY,
        verdict=verdict_from(failed=bool(output) and output != ["ok"], passed=bool(output)),
        detail=f"{stored.version}: PRAGMA integrity_check of the cases' file: {'; '.join(map(str, lines[:3]))}",
        numbers={"level": stored.levels[-1]},
    )


def _documented(stored: IsolationResult, level: str, rows: list[MatrixRow]) -> Finding:
    prevented = [row for row in rows if row["documented"] == "prevented"]
    broken = [row for row in rows if row["verdict"] == "fail"]
    unknown = [row for row in rows if row["verdict"] == "unknown"]
    occurred = [row["case"] for row in rows if row["kind"] == "occurred" and row["verdict"] == "pass"]
    not_observed = [row["case"] for row in rows if row["not_observed"]]
    if broken:
        cases = ", ".join(row["case"] for row in broken)
        detail = f"{len(broken)} of {len(prevented)} anomalies documented as prevented occurred: {cases}"
    elif unknown:
        reasons = "; ".join(f"{row['case']}: {row['reason']}" for row in unknown)
        detail = f"{len(unknown)} of {len(rows)} cases have no result: {reasons}"
    else:
        detail = f"none of the {len(prevented)} anomalies documented as prevented occurred"
    detail += f"; occurred as documented: {', '.join(occurred) or 'none'}"
    detail += f"; possible but not observed: {', '.join(not_observed)}" if not_observed else ""
    return Finding(
        scenario="isolation",
        cell=f"isolation.{stored.backend}.{level}",
        check=names.DOCUMENTED_GUARANTEES,
        verdict=verdict_from(failed=bool(broken), passed=not unknown),
        detail=f"{stored.version} at {level}: {detail}",
        numbers={
            "level": level,
            "cases": len(rows),
            "documented_prevented": len(prevented),
            "occurred_unexpectedly": [row["case"] for row in broken],
            "occurred_as_documented": occurred,
            "possible_not_observed": not_observed,
            "unknown": [row["case"] for row in unknown],
            "witness": {row["case"]: row["witness"] for row in (*broken, *unknown)},
        },
    )


def _levels(stored: IsolationResult, level: str) -> Finding:
    transcripts = {case: run for (case, asked), run in stored.transcripts.items() if asked == level}
    wrong = [f"{case}: {fault}" for case, run in transcripts.items() for fault in wrong_levels(level, run)]
    asserted = sum(event.label == LEVEL and not event.code for run in transcripts.values() for event in run.events)
    detail = "; ".join(wrong) or f"all {asserted} transactions reported this level"
    return Finding(
        scenario="isolation",
        cell=f"isolation.{stored.backend}.{level}",
        check=names.ISOLATION_LEVEL,
        verdict=verdict_from(failed=bool(wrong), passed=asserted > 0),
        detail=f"{stored.version} at {level}: {detail}",
        numbers={"level": level, "asserted": asserted, "wrong": len(wrong)},
    )


def findings_deadlocks(result: Mapping[str, Any], *, log_count: int | None = None) -> list[Finding]:
    """Returns the findings of each round of pairs and one of the total.

    `log_count`: deadlocks in the server's log, None if it could not be read. Raises FormatError.
    """
    try:
        if not result["rounds"]:
            raise FormatError("the deadlocks result contains no round")
        findings = [finding for stored in result["rounds"] for finding in _round(result, stored)]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise FormatError(f"not a deadlocks result: {type(error).__name__}: {error}") from error
    total = sum(finding.numbers.get("clients", 0) for finding in findings)
    logged = "could not be read" if log_count is None else f"has {log_count}"
    findings.append(
        Finding(
            scenario="deadlocks",
            cell="deadlocks.postgres",
            check=names.DEADLOCKS_IN_LOG,
            verdict=verdict_from(failed=log_count not in (None, total), passed=log_count is not None),
            detail=f"clients received {total} deadlock errors, the server's log {logged}",
            numbers={"clients": total, "log": log_count},
        )
    )
    return findings


def _round(result: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[Finding]:
    count = int(stored["pairs"])
    if not 1 <= count <= MAX_PAIRS:
        raise ValueError(f"{count} pairs")
    counted = int(stored["counted_after"]) - int(stored["counted_before"])
    timeout_ms = float(result["deadlock_timeout_ms"])
    transcript = from_json(stored["transcript"])
    problems = transcript_problems(transcript, count)
    pairs = [evaluate_pair(transcript, number) for number in range(1, count + 1)]
    where = f"{' '.join(str(result['version']).split()[:2])}, {'1 pair' if count == 1 else f'{count} pairs at once'}"

    def finding(check: str, good: bool, detail: str, *, known: bool = True, **numbers: Any) -> Finding:
        known = known and not problems
        return Finding(
            scenario="deadlocks",
            cell=f"deadlocks.postgres.pairs={count}",
            check=check,
            verdict=verdict_from(failed=not good and known, passed=known),
            detail=f"{where}: {'; '.join(problems) or detail}",
            numbers={"pairs": count, **numbers},
        )

    victims = sum(len(pair.victims) for pair in pairs)
    single = sum(pair.crossed and len(pair.victims) == 1 for pair in pairs)
    applied = sum(pair.applied for pair in pairs)
    faults = "".join(f"; pair {pair.number}: {', '.join(pair.faults)}" for pair in pairs if pair.faults)
    times = [pair.detection_ms for pair in pairs if pair.detection_ms is not None]
    yield finding(
        names.ONE_VICTIM,
        single == count > 0,
        f"{single} of {count} pairs crossed and had exactly one victim (40P01){faults}",
        single=single,
        victims=victims,
    )
    yield finding(
        names.SURVIVOR_COMMITS,
        applied == count > 0,
        f"in {applied} of {count} pairs one transaction committed and both rows hold its update exactly once{faults}",
        applied=applied,
    )
    counts = (result.get("settings") or {}).get("track_counts") != "off"
    yield finding(
        names.DEADLOCKS_COUNTED,
        counted == victims > 0,
        f"clients received {victims} deadlock error{'s' * (victims != 1)}, pg_stat_database counted {counted}"
        + ("" if counts else ": the server does not count (track_counts is off)"),
        known=counts,
        clients=victims,
        server=counted,
    )
    shown = f"{min(times):.0f} / {median(times):.0f} / {max(times):.0f} ms" if times else "never"
    yield finding(
        names.DETECTED_IN_TIME,
        bool(times) and min(times) > timeout_ms - CLOCKS_MS,
        f"time from second update to error: {shown} (min / median / max); deadlock_timeout {timeout_ms:.0f} ms",
        detection_ms=times,
        deadlock_timeout_ms=timeout_ms,
    )
