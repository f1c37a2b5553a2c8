"""The checks of a run as JUnit XML for continuous integration: `report --junit FILE`. Pure.

A file has a failure or an error exactly where `bench` ends with another code than 0, --fail-if included: its outcome
is a part of the run. Runs that were stored before it was have none. `fail` is a failure (code 1),
`unknown`, invalid trials and a run that did not finish are errors (code 4): what was not answered never looks like a
pass. Only what was not measured is skipped. What is `shown` cannot fail, so it is no test case but a line of
system-out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from harness import __version__
from harness.analysis.trial_validity import unreplaced
from harness.checks.finding import judged
from harness.model import Finding
from harness.report.cell_labels import spoken
from harness.report.criteria import CRITERIA, Answer
from harness.report.page import Page
from harness.report.run_summary import RunSummary
from harness.report.summary import NO_REASON, ScenarioSummary
from harness.text import printable, strict_json

RUN = "run"
"""Name of the suite about the run as a whole: verdict, success criteria, what was skipped."""
MOST_NUMBERS = 8_000
"""Characters of a finding's figures, among them the ids of requests."""
Tag = Literal["", "failure", "error", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A test case; `tag`: empty where it passes, else what it has instead, with a sentence and the rest as text."""

    name: str
    tag: Tag = ""
    kind: str = ""
    message: str = ""
    text: str = ""


def junit(page: Page, summary: RunSummary) -> str:
    """Returns the document; `summary` is the one that the page was made of."""
    properties = _properties(summary)
    root = ElementTree.Element("testsuites")
    suites = [(RUN, list(_of_run(page, summary)), "", 0.0)]
    for one in summary.scenarios:
        rows = [row for row in summary.run.rows if row.cell.scenario == one.name]
        seconds = sum(row.figure("seconds") or 0.0 for row in rows)
        shown = "\n".join(
            printable(f"shown: {_name(f, one)}: {f.detail}") for f in one.findings if f.verdict == "shown"
        )
        suites.append((one.name, list(_of_scenario(one, summary)), shown, seconds))
    for number, (name, cases, output, seconds) in enumerate(suites):
        _suite(root, name, number, _named(cases), properties, output=output, seconds=seconds, page=page)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _of_run(page: Page, summary: RunSummary) -> Iterator[Case]:
    """Yields the verdict, each success criterion, and each part that was skipped."""
    head = page.headline
    verdict_tag: Tag = "error"
    if head.word == "PASS":
        verdict_tag = ""
    elif head.word == "FAIL":
        verdict_tag = "failure"
    yield Case(name="verdict", tag=verdict_tag, kind=head.word.lower(), message=head.sentence)
    gate = summary.run.manifest.gate
    if gate:
        gate_tags: Mapping[int, Tag] = {0: "", 1: "failure"}
        kind = {0: "pass", 1: "fail"}.get(gate.code, "unknown")
        yield Case(
            name=f"fail-if {gate.fail_if}", tag=gate_tags.get(gate.code, "error"), kind=kind, message=gate.sentence
        )
    tags: Mapping[str, Tag] = {"pass": "", "fail": "failure", "unknown": "error", "not measured": "skipped"}
    for criterion, answer in zip(CRITERIA, summary.answers, strict=True):
        name = f"criterion {criterion.name}: {answer.title}"
        yield Case(name=name, tag=tags[answer.state], kind=answer.state, message=_because(answer))
    for name, why in page.notices.skipped:
        yield Case(name=f"skipped {name}", tag="skipped", kind="not measured", message=f"not measured, because {why}")


def _because(answer: Answer) -> str:
    return f"not measured, because {answer.because}" if answer.state == "not measured" else answer.because


def _of_scenario(one: ScenarioSummary, summary: RunSummary) -> Iterator[Case]:
    """Yields one case per check, and one about the validity of the trials."""
    for finding in judged(one.findings):
        tag: Tag = {"pass": "", "fail": "failure"}.get(finding.verdict, "error")  # type: ignore[assignment]  # a Tag each
        yield Case(
            name=_name(finding, one),
            tag=tag,
            kind=finding.verdict,
            message=finding.detail,
            text=f"{finding.cell}\n{strict_json(finding.numbers)[:MOST_NUMBERS]}",
        )
    rows = [row for row in summary.run.rows if row.cell.scenario == one.name]
    if rows:
        reasons = [f"trial {row.trial.order}: {row.reason or NO_REASON}" for row in unreplaced(rows)]
        message = f"{len(reasons)} of {len(rows)} invalid; no claim is based on them" if reasons else ""
        yield Case(
            name="trials are valid", tag="error" if reasons else "", kind="invalid", message=message,
            text="\n".join(reasons),
        )  # fmt: skip


def _name(finding: Finding, one: ScenarioSummary) -> str:
    about = one.labels.get(finding.cell, spoken(finding.cell, one.name))
    return f"{finding.check} [{about}]" if about else finding.check


def _named(cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """Returns the cases with names of which none occurs twice: servers count equal ones as one."""
    named: dict[str, Case] = {}
    for case in cases:
        first = name = _token(case.name)
        number = 1
        while name in named:
            number += 1
            name = f"{first} ({number})"
        named[name] = case
    return list(named.items())


def _suite(
    root: ElementTree.Element,
    name: str,
    number: int,
    cases: Sequence[tuple[str, Case]],
    properties: Mapping[str, str],
    *,
    output: str,
    seconds: float,
    page: Page,
) -> None:
    times = Counter(case.tag for _, case in cases)
    shown = _token(name)
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=shown,
        package="pgcrucible",
        id=str(number),
        timestamp=_timestamp(page.started),
        hostname=_token(properties["rig"]),
        tests=str(len(cases)),
        failures=str(times["failure"]),
        errors=str(times["error"]),
        skipped=str(times["skipped"]),
        time=f"{seconds:.3f}",
    )
    listed = ElementTree.SubElement(suite, "properties")
    for key, value in properties.items():
        ElementTree.SubElement(listed, "property", name=key, value=printable(value))
    for case_name, case in cases:
        element = ElementTree.SubElement(suite, "testcase", name=case_name, classname=shown, time="0")
        if case.tag:
            child = ElementTree.SubElement(element, case.tag, message=printable(case.message))
            if case.tag != "skipped":
                child.set("type", case.kind)
            child.text = "\n".join(printable(line) for line in (case.message, *case.text.splitlines()))
    ElementTree.SubElement(suite, "system-out").text = output
    ElementTree.SubElement(suite, "system-err").text = ""


def _properties(summary: RunSummary) -> dict[str, str]:
    """Returns what identifies run, code and software: the versions of each package, over all hosts."""
    manifest = summary.run.manifest
    versions: dict[str, set[str]] = {}
    for host in manifest.rig.hosts:
        for package, version in host.versions.items():
            versions.setdefault(package, set()).add(version)
    return {
        "run": manifest.run_id,
        "status": manifest.status,
        "verdict": manifest.verdict,
        "started": manifest.started,
        "finished": manifest.finished,
        "rig": manifest.rig.name or "none",
        "provider": manifest.rig.provider,
        "pgcrucible": __version__,
        "commit": manifest.code.commit + (" with changes" if manifest.code.dirty else ""),
        "command": manifest.code.command,
        "seed": str(manifest.code.seed),
        **{_token(f"version {package}"): ", ".join(sorted(of)) for package, of in sorted(versions.items())},
    }


def _token(text: str) -> str:
    """Returns text without line breaks and doubled blanks: an xs:token of at least one character."""
    return " ".join(printable(text).split())[:500] or "unnamed"


def _timestamp(text: str) -> str:
    """Returns the instant without its zone, as the schema wants it; of a run without one the epoch."""
    found = re.match(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d", text)
    return found[0] if found else "1970-01-01T00:00:00"
