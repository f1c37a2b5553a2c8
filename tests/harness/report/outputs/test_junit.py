"""report --junit: valid XML of the JUnit format, in which only what passed looks like a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema

from harness.checks import names
from harness.cli.bench import end_with
from harness.errors import CrucibleError
from harness.report.outputs.junit import junit
from harness.report.outputs.markdown import markdown
from harness.report.page import build, render
from harness.report.run_summary import summarise
from harness.store.manifest import GateRecord
from harness.store.run_reader import Run
from tests.support.builders import Made, concurrent, found, passing, quickstart, store
from tests.support.report_pages import HOSTILE, RUNS

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[3] / "data" / "junit.xsd")
CELL = concurrent()


def document(run: Run) -> ElementTree.Element:
    """Returns the document of a run; it is valid."""
    summary = summarise(run)
    text = junit(build(summary), summary)
    SCHEMA.validate(text)
    return ElementTree.fromstring(text)


def results(root: ElementTree.Element) -> dict[tuple[str, str], str]:
    """Returns (class name, name) -> `pass`, or the element that it has instead."""
    return {
        (case.get("classname", ""), case.get("name", "")): case[0].tag if len(case) else "pass"
        for case in root.iter("testcase")
    }


@pytest.mark.parametrize("kind", RUNS)
def test_every_run_gives_a_valid_document_whose_counts_are_right(tmp_path: Path, kind: str) -> None:
    root = document(RUNS[kind](tmp_path))
    for suite in root:
        cases = suite.findall("testcase")
        assert int(suite.get("tests", "")) == len(cases)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.get(name, "")) == len(suite.findall(f"testcase/{tag}"))
    assert [suite.get("id") for suite in root] == [str(number) for number in range(len(root))]


def test_the_schema_of_this_test_can_reject(tmp_path: Path) -> None:
    summary = summarise(quickstart(tmp_path))
    text = junit(build(summary), summary)
    for wrong in (
        text.replace(' time="0"', "", 1),
        text.replace("<testcase name", "<case name", 1),
        text.replace('timestamp="', 'timestamp="x', 1),
        text.replace("<system-out />", "", 1),
    ):
        assert not SCHEMA.is_valid(wrong)


def test_one_test_case_per_check_with_its_label(tmp_path: Path) -> None:
    cells = [CELL, concurrent("spread")]
    run = store(tmp_path, [Made(cell=cell) for cell in cells], [one for cell in cells for one in passing(cell)])
    of_checks = {name for of, name in results(document(run)) if of == "concurrent-writes"} - {"trials are valid"}
    labels = summarise(run).scenarios[0].labels
    assert of_checks == {f"{one.check} [{labels[one.cell]}]" for one in run.findings}


def test_verdicts_and_their_elements(tmp_path: Path) -> None:
    ids = ["r-17", "r-40"]
    run = store(
        tmp_path,
        [Made(cell=CELL)],
        [
            found(CELL, "final value", "fail", "2 updates are lost", lost=2, ids=ids),
            found(CELL, "p99", "unknown", "not measured: too few requests"),
            found(CELL, names.SLOWEST, "shown", "the slowest 10 requests"),
            found(CELL, "acknowledged"),
        ],
        verdict="fail",
        skipped={"isolation": "SQLite is not installed"},
    )
    root = document(run)
    got = {name.split(" [")[0]: tag for (of, name), tag in results(root).items() if of == "concurrent-writes"}
    assert got == {"final value": "failure", "p99": "error", "acknowledged": "pass", "trials are valid": "pass"}
    failure = root.find(".//failure[@message='2 updates are lost']")
    assert failure is not None
    assert failure.get("type") == "fail"
    assert all(one in (failure.text or "") for one in [*ids, CELL.name])
    assert "shown: " in "".join(out.text or "" for out in root.iter("system-out"))
    skipped = [one.get("message") for one in root.iter("skipped")]
    assert "not measured, because SQLite is not installed" in skipped
    assert all(str(message).startswith("not measured, because ") for message in skipped)


def invalid(root: Path) -> Run:
    return store(root, [Made(cell=CELL, valid=False, reason="too slow")], passing(CELL), verdict="invalid")


def unknown(root: Path) -> Run:
    return store(root, [Made(cell=CELL)], [found(CELL, "p99", "unknown", "no samples")], verdict="unknown")


def unjudged(root: Path) -> Run:
    return store(root, [Made(cell=CELL)], verdict="unknown", status="sampled")


@pytest.mark.parametrize("made", [*RUNS.values(), invalid, unknown, unjudged])
def test_a_document_is_green_exactly_where_bench_ends_with_0(tmp_path: Path, made: Callable[[Path], Run]) -> None:
    run = made(tmp_path)
    if run.manifest.status == "aborted":  # bench ends with the error that aborted it
        run = replace(run, manifest=run.manifest.model_copy(update={"verdict": "unknown"}))
    code = 0
    try:
        end_with(run)
    except CrucibleError as error:
        code = error.exit_code
    tags = set(results(document(run)).values())
    assert bool(tags & {"failure", "error"}) is (code != 0)
    assert ("failure" in tags) is (code == 1)


@pytest.mark.parametrize(("code", "tag"), [(0, "pass"), (1, "failure"), (4, "error")])
def test_the_outcome_of_fail_if_is_a_case_and_a_line_of_every_form(tmp_path: Path, code: Any, tag: str) -> None:
    run = quickstart(tmp_path)
    run.manifest.gate = GateRecord(fail_if="slower:5%", code=code, sentence="what the gate says")
    assert results(document(run))["run", "fail-if slower:5%"] == tag
    summary = summarise(run)
    page = build(summary)
    first = [page.headline.sentence, *(one.text for one in page.notices.limiting)]
    assert sum("--fail-if slower:5%" in text for text in first) == (2 if code else 1)
    assert ("what the gate says" in markdown(page, summary)) is (code != 0)
    assert ("what the gate says" in render(page)) is (code != 0)


def test_no_two_cases_have_the_same_name_and_the_versions_are_there(tmp_path: Path) -> None:
    findings = [found(replace(CELL, scenario=HOSTILE), HOSTILE, "fail", HOSTILE) for _ in range(3)]
    root = document(store(tmp_path, [], findings, verdict="fail"))
    names_of = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(names_of) == len(set(names_of))
    properties = {one.get("name"): one.get("value") for one in root[0].iter("property")}
    assert properties["version postgresql"] == "15.13"
    assert properties["run"]
    assert properties["pgcrucible"]


def test_a_name_with_a_number_of_its_own_stays_apart(tmp_path: Path) -> None:
    findings = [found(CELL, name, "fail") for name in ("a (2)", "a", "a")]
    root = document(store(tmp_path, [], findings, verdict="fail"))
    names_of = [case.get("name") for case in root.iter("testcase") if case.get("classname") == CELL.scenario]
    assert len(names_of) == len(set(names_of)) == 3


@pytest.mark.parametrize("check", [HOSTILE, "\x00", "]]>"])
def test_hostile_text_that_is_only_shown_is_valid_too(tmp_path: Path, check: str) -> None:
    cell = replace(CELL, strategy=check)
    run = store(tmp_path, [Made(cell=cell)], [found(cell, names.SLOWEST, "shown")])
    run.manifest.findings[0] = run.manifest.findings[0].model_copy(update={"check": check, "detail": check})
    output = "".join(one.text or "" for one in document(run).iter("system-out"))
    assert output.count("shown: ") == 1
    assert output.isprintable()
