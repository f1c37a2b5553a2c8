"""report.html for readers, browsers and attackers: runs written with RunWriter, the page parsed as HTML."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.model import Cell
from harness.report import page
from harness.report.page import build, render, write_report
from harness.report.page_model import Table
from harness.report.run_summary import summarise
from harness.store.manifest import CodeRecord
from harness.store.run_reader import Run
from tests.support.builders import CODE, Made, concurrent, found, passing, quickstart, store
from tests.support.pages import blocks_of, page_of

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = "<script>alert(1)</script>\"' onload=x " + "\x1b[31m\u202e\x00 =HYPERLINK(1) {{ 7*7 }}"


class Parsed(HTMLParser):
    """A parsed page; an element that is closed twice, never or in the wrong order is a fault."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text.replace("<wbr>", ""))  # only a place where a line may be broken
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def parsed(run: Run) -> Parsed:
    return Parsed(write_report(summarise(run)).read_text(encoding="utf-8"))


def assert_sound(page: Parsed) -> None:
    """Asserts that the page is well-formed and self-contained, without script, with all references within the page."""
    assert page.faults == []
    assert not {"script", "iframe", "object", "embed", "link", "img", "form", "base", "foreignobject"} & set(page.tags)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    targets = [v for name in ("href", "xlink:href", "src", "action", "aria-labelledby") for v in page.values(name)]
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name != "style", (tag, value)
        assert name.startswith("xmlns") or "://" not in value, (tag, name, value)
        for reference in re.findall(r"url\(([^)]*)\)", value):
            assert reference.removeprefix("#") in ids


def test_page_of_a_passing_run(tmp_path: Path) -> None:
    run = quickstart(tmp_path)
    page = parsed(run)
    assert_sound(page)
    assert "PASS 2,000 of 2,000 concurrent writes acknowledged over 4 app hosts" in page.text
    for finding in run.findings:
        assert f"{finding.check} : {finding.detail}" in page.text
    for word in ("Rig", "Strategy", "Cell", "Trial", "Sample", "Outcome", "Finding", "Run"):
        assert f" {word} " in page.text
    assert "git checkout 3f2a9c1" in page.text
    assert "./run bench --hosts 4 --scenario concurrent-writes --seed 1" in page.text
    assert "share the cores" in page.text


def test_the_page_of_a_large_run_is_drawn_by_other_processes_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summarise(quickstart(tmp_path))
    here = render(build(summary))
    monkeypatch.setattr(page, "LARGE", 1)
    assert render(build(summary)) == here


def test_the_name_of_a_setting_in_a_table_can_be_broken(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=concurrent())], settings={"app": {"log_autovacuum_min_duration": "<b>=1"}})
    text = write_report(summarise(run)).read_text(encoding="utf-8")
    assert "log_<wbr>autovacuum_<wbr>min_<wbr>duration" in text
    assert "&lt;b&gt;=<wbr>1" in text


def test_what_all_hosts_share_is_said_once(tmp_path: Path) -> None:
    text = parsed(store(tmp_path, [Made(cell=concurrent())])).text
    assert "Each host: kernel 6.1.0-31-amd64; CPU model AMD EPYC 7B13. Rig: provider podman" in text
    assert "host role CPU cap, cores memory versions db db 1 2.00 GiB postgresql 15.13, debian 12.11 app-1" in text


def test_tables_and_pictures_have_text_alternatives(tmp_path: Path) -> None:
    page = parsed(quickstart(tmp_path))
    assert page.tags.count("caption") == page.tags.count("table") > 5
    assert page.tags.count("svg") >= 3
    drawn = [tag for tag, name, value in page.attributes if (name, value) == ("role", "img")]
    assert len(drawn) >= page.tags.count("svg")
    assert all(page.values("aria-label"))
    assert page.tags.count("h1") == 1
    assert "lang" in {name for tag, name, _ in page.attributes if tag == "html"}


def test_page_of_a_run_with_sqlite_links_to_the_explanation_of_its_errors(tmp_path: Path) -> None:
    other = Cell(scenario="sqlite-vs-postgres", backend="sqlite-naive")
    busy = {"SQLITE_BUSY": 100}
    trials = [Made(cell=concurrent(backend="sqlite-naive"), fail=100, errors=busy), Made(cell=other, ok=200)]
    page = parsed(store(tmp_path, trials))
    assert_sound(page)
    assert page.values("id").count("why-sqlite-fails") == 1
    assert page.values("href").count("#why-sqlite-fails") == 1
    assert page.values("href").count("#outcome") == 2


def test_content_policy_allows_only_the_style_sheet_of_the_page(tmp_path: Path) -> None:
    text = write_report(summarise(quickstart(tmp_path))).read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'sha256-" in text.replace("&#39;", "'")
    assert len(text) < 400_000


def test_writing_twice_leaves_one_page_and_no_other_file(tmp_path: Path) -> None:
    run = quickstart(tmp_path)
    before = {path.name for path in run.path.iterdir()}
    assert write_report(summarise(run)) == write_report(summarise(run)) == run.path / "report.html"
    assert {path.name for path in run.path.iterdir()} - before == {"report.html"}


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    cell = Cell(scenario=HOSTILE, strategy=HOSTILE, hosts=2, params={HOSTILE: HOSTILE, "n" * 5000: {"a": "<b>"}})
    trials = [
        Made(cell=cell, fail=3, errors={HOSTILE: 3}, valid=False, reason=HOSTILE),
        Made(cell=replace(cell, strategy="</style><script>"), ok=200, timeline_s=8),
        Made(cell=concurrent("</svg><script>"), ok=900, lost=3),
    ]
    run = store(
        tmp_path,
        trials,
        [found(cell, HOSTILE, "fail", HOSTILE), found(trials[2].cell, "final value", "fail", HOSTILE, lost=3)],
        verdict="fail",
        code=CodeRecord(commit=HOSTILE, dirty=True, command=HOSTILE, seed=7),
        warnings=[HOSTILE],
        skipped={HOSTILE: HOSTILE},
        settings={HOSTILE: {HOSTILE: HOSTILE, "deep": {"list": ["<i>"]}}},
        stages={HOSTILE: 1.0},
        noise_floor={HOSTILE: 1.1},
    )
    text = write_report(summarise(run)).read_text(encoding="utf-8")
    page = Parsed(text)
    assert_sound(page)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "{{ 7*7 }}" in page.text
    assert page.text.count("<script>alert(1)</script>") >= 8


def test_figure_that_is_not_finite_is_a_dash(tmp_path: Path) -> None:
    nothing = {"rps": float("nan"), "p50_ms": float("inf"), "p99_ms": None, "mean_ms": -0.0}
    run = store(tmp_path, [Made(cell=concurrent(), ok=50, figures=nothing)], passing(concurrent()))
    page = parsed(run)
    assert_sound(page)
    assert not re.search(r"\b(nan|inf|None)\b", page.text)
    (row,) = [
        row
        for row in re.findall(r"requests/s .*? valid trials (.*?)(?:All cells|Counts are)", page.text)
        if "50" in row
    ]
    assert row.count("\N{EN DASH}") >= 3


def test_run_without_trials(tmp_path: Path) -> None:
    page = parsed(store(tmp_path, verdict="unknown", status="aborted", warnings=["aborted: no space left on app-1"]))
    assert_sound(page)
    assert "ABORTED no space left on app-1; 0 trials and 0 findings are kept" in page.text
    assert "This run has no trials and no findings" in page.text
    assert "aborted: no space left on app-1" in page.text


def test_aborted_run_shows_the_measured_trials(tmp_path: Path) -> None:
    cell = concurrent()
    page = parsed(store(tmp_path, [Made(cell=cell)], passing(cell), verdict="pass", status="aborted"))
    assert_sound(page)
    assert "ABORTED interrupted; 1 trial and 6 findings are kept" in page.text
    assert "PASS" not in page.text


@pytest.mark.parametrize("status", ["started", "sampled"])
def test_unfinished_run_is_not_shown_as_passed(tmp_path: Path, status: str) -> None:
    run = store(tmp_path, [Made(cell=concurrent())], passing(concurrent()), status=status)  # type: ignore[arg-type]
    assert f"UNFINISHED the run's status is '{status}'" in parsed(run).text


def test_invalid_trial_shows_counts_but_no_times(tmp_path: Path) -> None:
    cell, reason = concurrent(), "the generator was the limit: CPU 97 %"
    run = store(
        tmp_path,
        [Made(cell=cell, ok=777, valid=False, reason=reason, seconds=0.25)],
        passing(cell),
        verdict="invalid",
    )
    page = parsed(run)
    assert_sound(page)
    assert f"INVALID 1 of 1 trial is invalid; no claim is based on it; first: {reason}" in page.text
    assert "777" in page.text
    assert "3,110" not in page.text  # 777 acknowledged in 0.25 s: requests/s of an invalid trial
    assert "Invalid trials: 1 of 1" in page.text
    assert page.text.count(reason) >= 2
    assert "? unknown: 1,000 concurrent writes all succeed unknown" in page.text


def test_lost_updates_are_in_headline_criteria_chart_and_findings(tmp_path: Path) -> None:
    cell = concurrent(strategy="unsafe")
    detail = "137 lost updates; key 'hot-000': 1,000 acknowledged and 0 unknown, but the value went from 0 to 863"
    findings = [
        one if one.check != "final value" else found(cell, "final value", "fail", detail, lost=137)
        for one in passing(cell)
    ]
    page = parsed(store(tmp_path, [Made(cell=cell, lost=137)], findings, verdict="fail"))
    assert "FAIL 1 of 6 checks fails; concurrent-writes, final value: 137 lost updates" in page.text
    assert "✗ fail: The lost-update problem is solved" in page.text
    assert "137 acknowledged writes are not in the database" in page.text
    assert detail in page.text


def test_damaged_file_is_named_and_the_rest_of_the_page_written(tmp_path: Path) -> None:
    run = quickstart(tmp_path)
    for name in ("evidence/001.json", "samples/001-main.summary.json", "samples/001-main.latency.hgrm"):
        (run.path / name).write_text("{broken", encoding="utf-8")
    (run.path / "samples" / "002-main.csv").write_text("seq,op\n1,x\n", encoding="utf-8")
    page = parsed(run)
    assert_sound(page)
    for name in ("001.json", "001-main.summary.json", "damaged histogram", "002-main.csv"):
        assert name in page.text
    assert "1,000 of 1,000 acknowledged" in page.text


def test_unknown_scenario_still_has_findings_and_figures(tmp_path: Path) -> None:
    cell = Cell(scenario="of-the-future", clients=3)
    page = parsed(store(tmp_path, [Made(cell=cell, ok=321)], [found(cell, "novel", detail="all is novel")]))
    assert "This version of pgcrucible has no scenario of this name" in page.text
    assert "novel : all is novel" in page.text
    assert "321" in page.text


def test_percentiles_of_too_few_samples_are_not_shown(tmp_path: Path) -> None:
    cell = concurrent(requests=230, clients=230)
    run = store(tmp_path, [Made(cell=cell, ok=230)], passing(cell))
    assert run.rows[0].figure("p95_ms") is not None
    assert run.rows[0].figure("p99_ms") is None
    page = page_of(run)
    cells = next(block for block in blocks_of(page.sections[0]) if isinstance(block, Table))
    by_name = dict(zip(cells.head, cells.rows[0], strict=True))
    assert by_name["p95, ms"].text != "\N{EN DASH}"
    assert by_name["p99, ms"].text == "\N{EN DASH}"


def test_rendering_twice_gives_the_same_page(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=Cell(scenario="throughput"), ok=200, timeline_s=9)])
    assert render(page_of(run)) == render(page_of(run))


def test_dirty_commit_is_marked(tmp_path: Path) -> None:
    run = store(tmp_path, code=CODE.model_copy(update={"dirty": True}))
    assert "with uncommitted changes" in parsed(run).text


def test_a_number_and_its_per_cent_sign_are_on_one_line(tmp_path: Path) -> None:
    text = render(page_of(quickstart(tmp_path)))
    assert "100\N{NO-BREAK SPACE}%" in text
    assert "(100 %)" not in text
