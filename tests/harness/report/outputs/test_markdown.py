"""report --format md: GitHub renders it, foreign text stays text, and it is never too long for a comment."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from harness.model import Finding
from harness.report.outputs.escaping import code_block, in_html, inline, line, prose
from harness.report.outputs.markdown import MOST_BYTES, markdown
from harness.report.page import build
from harness.report.run_summary import summarise
from harness.store.manifest import CodeRecord
from harness.store.run_reader import Run
from tests.support.builders import Made, concurrent, found, passing, quickstart, store
from tests.support.report_pages import RUNS
from tests.support.suite import suite

HOSTILE = (
    "</details></summary>| a | b |`x`*y*_z_ @octocat #12 GH-7 ![i](http://x/y.png) <img src=x onerror=1> $\\frac{1}$ "
    "www.x.org me@x.org ~~s~~ [l]: http://x ```\n# head\n- [ ] item\n\n| q |\n|---|\n&lt;b&gt; \x1b[31m\u202e"
)
GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
TAGS = {
    "h2", "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "details", "summary", "b", "ul", "li", "pre",
    "code",
}  # fmt: skip
CELL = concurrent()


class Rendered(HTMLParser):
    """The HTML that GitHub makes of Markdown; elements have to be nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.details: list[str] = []
        self.feed(GITHUB.render(text))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += [(tag, name) for name, _ in attrs]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "details":
            self.details.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data
        if "details" in self.open:
            self.details[-1] += data

    @property
    def text(self) -> str:
        return "".join(self.words)


def written(run: Run) -> str:
    summary = summarise(run)
    return markdown(build(summary), summary)


def assert_sound(text: str) -> Rendered:
    """Asserts that only the tags of the project are there, no link and no mention, and that the size is in bounds."""
    assert len(text.encode()) <= MOST_BYTES
    page = Rendered(text)
    assert set(page.tags) <= TAGS
    assert set(page.attributes) <= {("details", "open"), ("code", "class")}
    outside = re.sub(r"(?ms)^(`{3,})sh$.*?^\1$", "", text)
    assert not re.search(r"@\w|(?<!&)#\d|://|\bGH-\d|\bwww\.", outside)
    return page


@pytest.mark.parametrize("kind", RUNS)
def test_markdown_of_every_run_renders(tmp_path: Path, kind: str) -> None:
    run = RUNS[kind](tmp_path)
    page = assert_sound(written(run))
    scenarios = summarise(run).scenarios
    assert page.tags.count("details") == page.tags.count("summary")
    shown = [one for one in page.details if any(one.startswith(s) for s in ("✓ ", "✗ ", "? ", "! ", "≠ ", "• "))]
    assert len(shown) == len(scenarios)
    assert page.tags.count("h2") == 1


def test_what_a_reviewer_needs_is_there(tmp_path: Path) -> None:
    run = quickstart(tmp_path)
    page = assert_sound(written(run))
    assert page.text.startswith("✓ PASS: 2,000 of 2,000 concurrent writes acknowledged over 4 app hosts")
    assert [cell for cell in page.cells if cell == "✓ pass"], "criteria have their state as a word"
    assert "1,000 concurrent writes all succeed" in page.cells
    assert "2,000 / 0" in "".join(page.cells)
    assert "checks pass" in page.details[0]
    assert ("details", "open") not in page.attributes, "what is green is folded"
    assert "./run bench --hosts 4 --scenario concurrent-writes" in page.text


def test_what_is_not_green_is_there_in_full_and_what_is_green_is_counted(tmp_path: Path) -> None:
    detail = "137 lost updates; " + ", ".join(f"key 'hot-{n:03d}': {n} acknowledged" for n in range(40))
    findings = [
        found(CELL, "final value", "fail", detail, lost=137),
        found(CELL, "p99 within its limit", "unknown", "not measured: 12 requests"),
        *passing(CELL)[1:],
    ]
    run = store(tmp_path, [Made(cell=CELL, lost=137)], findings, verdict="fail")
    page = assert_sound(written(run))
    card = page.details[0]
    assert ("details", "open") in page.attributes
    assert f"✗ fail final value ({summarise(run).scenarios[0].cells[0].label}): {detail}" in card
    assert "? unknown p99 within its limit" in card
    assert "1 of " in card.splitlines()[0], "the head has the counts"
    for one in passing(CELL)[1:]:
        assert one.detail not in card, one


def test_an_aborted_run_has_no_green_tick_however_what_is_kept_was_judged(tmp_path: Path) -> None:
    made = [Made(cell=CELL)]
    run = store(tmp_path, made, passing(CELL), verdict="pass", status="aborted", warnings=["aborted: no space"])
    assert written(run).startswith("## ? ABORTED: no space")


def test_an_invalid_trial_is_named(tmp_path: Path) -> None:
    made = [Made(cell=CELL, valid=False, reason="other programs used 40 % of the CPU")]
    text = written(store(tmp_path, made, passing(CELL), verdict="invalid"))
    assert "other programs used 40 % of the CPU" in assert_sound(text).details[0]


def test_hostile_text_stays_text_everywhere(tmp_path: Path) -> None:
    cell = replace(CELL, strategy=HOSTILE, scenario=HOSTILE, params={HOSTILE: HOSTILE})
    run = store(
        tmp_path,
        [Made(cell=cell, fail=3, errors={HOSTILE: 3}, valid=False, reason=HOSTILE), Made(cell=CELL, lost=2)],
        [found(cell, HOSTILE, "fail", HOSTILE), found(CELL, "final value", "unknown", HOSTILE), found(CELL, HOSTILE)],
        verdict="fail",
        code=CodeRecord(commit=HOSTILE, dirty=True, command=HOSTILE, seed=7),
        warnings=[HOSTILE, f"{CELL.name}: {HOSTILE}"],
        skipped={HOSTILE: HOSTILE},
    )
    page = assert_sound(written(run))
    assert page.text.count("|") >= 8, "a bar inside a field does not end it"
    assert "<img src=x onerror=1>" in page.text
    rows = [row for row in written(run).splitlines() if row.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {4, 9}, "each row has the columns of its table"


@pytest.mark.parametrize("of", ["checks", "scenarios", "warnings", "cells", "letters"])
def test_whatever_the_run_the_text_fits_and_says_what_is_missing(tmp_path: Path, of: str) -> None:
    long = "&<>| " * 400
    findings: list[Finding] = [found(CELL, "final value", "fail", "1 lost", lost=1)]
    trials, more = [Made(cell=CELL, ok=20)], {}
    if of == "checks":
        findings += [found(CELL, f"check {n}", "unknown", long[:300]) for n in range(900)]
    elif of == "scenarios":
        findings += [found(replace(CELL, scenario=f"s{n}"), "x", "fail", long) for n in range(400)]
    elif of == "warnings":
        more = {"warnings": [f"{n} {long}" for n in range(300)]}
    elif of == "cells":
        trials = [Made(cell=replace(CELL, clients=n + 1), ok=20) for n in range(150)]
    else:
        findings += [found(CELL, "\U0001f680" * 3000, "fail", "\U0001f680&" * 30_000)]
    text = written(store(tmp_path, trials, findings, verdict="fail", **more))
    page = assert_sound(text)
    assert "✗ fail final value" in page.text
    assert "1 lost" in page.text
    if of != "letters":
        assert "left out" in page.text


def test_the_suite_fits_whole(tmp_path: Path) -> None:
    text = written(suite(tmp_path, quick=False))
    assert_sound(text)
    assert "too long" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, 12.5 % (of 3)", "plain, 12.5 % (of 3)"),
        ("a|b", r"a\|b"),
        ("@octocat", "@\u200boctocat"),
        ("#12", "#\u200b12"),
        ("a_b*c`d", r"a\_b\*c\`d"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("http://x", ":".join(["http", "\u200b//x"])),
        ("two\nlines", "two?lines"),
    ],
)
def test_inline(text: str, expected: str) -> None:
    assert inline(text) == expected


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "1. a", "12) a", "---", "===", "    a", "## a `b`"])
def test_text_that_begins_a_line_stays_a_paragraph(text: str) -> None:
    assert line(text) == "\u200b" + prose(text)
    (block,) = MarkdownIt("gfm-like", {"linkify": False}).parse(line(text))[::3]
    assert block.type == "paragraph_open"
    assert line("plain 1. # -") == "plain 1. # -"


def test_an_answer_that_begins_like_a_heading_is_none(tmp_path: Path) -> None:
    run = store(tmp_path, [Made(cell=CELL)], [found(CELL, "# loud", "fail", "- x")], verdict="fail")
    assert not [one for one in written(run).splitlines() if one.startswith("# ")]


def test_the_reason_of_a_trial_that_was_replaced_is_not_listed(tmp_path: Path) -> None:
    made = [
        Made(cell=CELL, number=1, valid=False, reason="replaced later"),
        Made(cell=CELL, number=1),
        Made(cell=CELL, number=2, valid=False, reason="never replaced"),
    ]
    text = written(store(tmp_path, made, passing(CELL), verdict="invalid"))
    assert "never replaced" in text
    assert "replaced later" not in text


def test_code_in_prose_html_and_fences() -> None:
    assert prose("set `pool_size` to 5") == r"set <code>pool\_size</code> to 5"
    assert prose("an odd ` stays") == r"an odd \` stays"
    assert in_html("<b> @x") == "&lt;b&gt; @\u200bx"
    assert code_block("a ```` b").splitlines() == ["`````sh", "a ```` b", "`````"]
    assert inline("x" * 50, most=10) == "x" * 9 + "…"
