"""The page in a real browser: nothing is fetched, nothing overflows, dark and light, keyboard, print."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.model import Cell
from harness.report.page import write_report
from harness.report.run_summary import summarise
from tests.support.browser import Browser, browser
from tests.support.builders import Made, found, store
from tests.support.report_pages import PAGES, RUNS
from tests.support.suite import suite

WIDTHS = (400, 899, 900, 1280, 1920)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module", params=[*RUNS, *PAGES])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind of run, outside of the run's folder."""
    root = tmp_path_factory.mktemp("page")
    if request.param in PAGES:
        return PAGES[request.param](root)
    run = RUNS[request.param](root)
    return write_report(summarise(replace(run, path=_copied(run.path, root / "copy"))))


def _copied(run: Path, to: Path) -> Path:
    """A copy of the run's folder, so that a stored run keeps its own page. The store reads no symbolic link."""
    return Path(shutil.copytree(run, to, ignore=shutil.ignore_patterns("report.html")))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_fetched_and_the_console_is_empty(chromium: Browser, page: Path, *, dark: bool) -> None:
    chromium.open(page, dark=dark)
    assert chromium.errors == []
    assert chromium.requests == [page.as_uri()]


def test_a_page_that_fetches_is_noticed(chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text("<img src='missing.png'><script>nothing()</script>", encoding="utf-8")
    chromium.open(file)
    assert len(chromium.requests) == 2
    assert chromium.errors


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window(chromium: Browser, page: Path, width: int) -> None:
    chromium.open(page, width=width)
    for state in ("false", "true"):
        chromium.evaluate(f"document.querySelectorAll('details').forEach(one => one.open = {state})")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width


def test_every_picture_is_present_and_inside_its_card(chromium: Browser, page: Path) -> None:
    for width in (400, 1280):
        chromium.open(page, width=width)
        chromium.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        drawn = chromium.evaluate(
            "[...document.querySelectorAll('.chart')].map(chart => {"
            " const svg = chart.querySelector('svg').getBoundingClientRect(), box = chart.getBoundingClientRect();"
            " const scrolls = getComputedStyle(chart).overflowX === 'auto' && chart.scrollWidth > chart.clientWidth;"
            " return [svg.width > 100 && svg.height > 20, svg.right <= box.right + 1 || scrolls,"
            "         !!chart.getAttribute('aria-label')] })"
        )
        assert all(all(one) for one in drawn)
    assert len(drawn) == page.read_text(encoding="utf-8").count("<svg")


TEXTS = """
[...document.querySelectorAll('.chart')].flatMap(chart => {
  const svg = chart.querySelector('svg'), frame = svg.getBoundingClientRect(), scale = svg.getScreenCTM().a;
  const parts = [...svg.querySelectorAll('text')].flatMap(
    text => { const lines = [...text.querySelectorAll('tspan')]; return lines.length ? lines : [text]; });
  const boxes = parts.filter(part => part.textContent.trim()).map(part => {
    const range = document.createRange();
    range.selectNodeContents(part);
    const box = range.getBoundingClientRect(), size = parseFloat(getComputedStyle(part).fontSize) * scale;
    return {text: part.textContent, left: box.left, top: box.top, right: box.right, bottom: box.bottom, size};
  });
  const bad = [];
  boxes.forEach((one, place) => {
    if (one.size > 20) bad.push(`large: ${one.text}`);
    if (one.left < frame.left - 1 || one.right > frame.right + 1) bad.push(`cut: ${one.text}`);
    for (const other of boxes.slice(place + 1)) {
      const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (wide > 1 && high > 4 * scale) bad.push(`over each other: ${one.text} | ${other.text}`);
    }
  });
  return bad;
})
"""


def test_the_text_of_drawings_can_be_read(chromium: Browser, page: Path) -> None:
    """No text is over another one, outside of its drawing, or larger than a heading."""
    chromium.open(page, width=1280)
    chromium.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert chromium.evaluate(TEXTS) == []


def test_a_drawing_whose_text_cannot_be_read_is_noticed(chromium: Browser, tmp_path: Path) -> None:
    words = "<text x='5' y='9'>one</text><text x='9' y='9'>two</text><text x='380' y='40'>three</text>"
    file = tmp_path / "bad.html"
    file.write_text(f"<div class=chart><svg width=400 viewBox='0 0 400 99'>{words}</svg></div>", encoding="utf-8")
    chromium.open(file)
    assert [text.split(":")[0] for text in chromium.evaluate(TEXTS)] == ["over each other", "cut"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_about_several_runs_has_its_verdict_on_the_first_screen_and_pictures(
    chromium: Browser, tmp_path: Path, name: str
) -> None:
    chromium.open(PAGES[name](tmp_path), width=1280, height=800)
    assert chromium.evaluate("document.querySelector('.verdict').getBoundingClientRect().bottom") < 800
    assert chromium.evaluate("document.querySelectorAll('.pictures svg').length") > 0


LUMINANCE = (
    "(colour => { const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3)"
    ".map(part => part / 255).map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);"
    " return 0.2126 * r + 0.7152 * g + 0.0722 * b })"
)
CONTRASTS = f"""
(() => {{
  const luminance = {LUMINANCE};
  const ground = element => {{
    for (let one = element; one; one = one.parentElement) {{
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }}
    return 'rgb(255, 255, 255)';
  }};
  const least = {{}};
  const texts = 'p, li, td, th, summary, small, h1, h2, strong, a, code, figcaption';
  for (const element of document.querySelectorAll(texts)) {{
    if (!element.innerText || element.classList.contains('skip')) continue;
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) least[element.outerHTML.slice(0, 80)] = ratio;
  }}
  return least;
}})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_the_contrast_of_aa(chromium: Browser, page: Path, *, dark: bool) -> None:
    chromium.open(page, dark=dark)
    chromium.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert chromium.evaluate(CONTRASTS) == {}


def test_drawings_are_dark_on_a_dark_page(chromium: Browser, page: Path) -> None:
    ask = f"[...document.querySelectorAll('svg text')].map(text => {LUMINANCE}(getComputedStyle(text).fill))"
    chromium.open(page)
    light = chromium.evaluate(ask)
    chromium.open(page, dark=True)
    dark = chromium.evaluate(ask)
    ground = chromium.evaluate(f"{LUMINANCE}(getComputedStyle(document.body).backgroundColor)")
    assert ground < 0.05
    assert all(before != after for before, after in zip(light, dark, strict=True)), "a text kept its colour"


def test_print_is_light_and_shows_what_is_folded(chromium: Browser, page: Path) -> None:
    chromium.open(page, dark=True, print_=True)
    ground = chromium.evaluate(f"{LUMINANCE}(getComputedStyle(document.body).backgroundColor)")
    assert ground > 0.9
    assert chromium.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    hidden = "[...document.querySelectorAll('details:not([open]) > p')].filter(one => !one.checkVisibility()).length"
    assert chromium.evaluate(hidden) == 0


@pytest.mark.parametrize("width", [400, 1280])
def test_navigation_stays_in_view_and_works_with_the_keyboard(chromium: Browser, page: Path, width: int) -> None:
    chromium.open(page, width=width)
    chromium.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert abs(chromium.evaluate("document.querySelector('nav').getBoundingClientRect().top")) < 1
    chromium.open(page, width=width)
    chromium.press("Tab")
    focused = "document.activeElement.getAttribute('href')"
    assert chromium.evaluate(focused) == "#answer"
    links = chromium.evaluate("[...document.querySelectorAll('nav a')].map(link => link.getAttribute('href'))")
    for link in links:
        chromium.press("Tab")
        assert chromium.evaluate(focused) == link
    shown = "(box => box.left < innerWidth - 8 && box.right > 8)(document.activeElement.getBoundingClientRect())"
    assert chromium.evaluate(shown)
    chromium.press("Enter")
    assert chromium.evaluate("location.hash") == links[-1]
    top = chromium.evaluate(f"document.querySelector('{links[-1]}').getBoundingClientRect().top")
    bar = chromium.evaluate("innerWidth < 900 ? document.querySelector('nav').getBoundingClientRect().bottom : 0")
    assert bar <= top < 800


def test_the_answer_is_on_the_first_screen(chromium: Browser, tmp_path: Path) -> None:
    chromium.open(write_report(summarise(suite(tmp_path))), width=1280, height=800)
    for what in (".verdict", ".tiles", "#rig", ".criteria", "details.notices, .criteria li:last-child"):
        assert chromium.evaluate(f"document.querySelector('{what}').getBoundingClientRect().bottom") <= 800, what


def test_cards_are_in_the_order_of_the_navigation_and_fill_their_rows(chromium: Browser, tmp_path: Path) -> None:
    """The first card is not full, the second is open over the whole width; one is left at the end."""
    cells = [Cell(scenario=f"scenario-{n}") for n in range(5)]
    findings = [found(cell, "a check", "fail" if n == 1 else "pass", "text") for n, cell in enumerate(cells)]
    run = store(tmp_path, [Made(cell=cell) for cell in cells], findings, verdict="fail")
    chromium.open(write_report(summarise(run)), width=1280, height=800)
    boxes = chromium.evaluate(
        "[...document.querySelectorAll('nav a')].map(link => document.querySelector(link.getAttribute('href')))"
        ".map(head => head.closest('.scenario')).filter(card => card)"
        ".map(card => card.getBoundingClientRect()).map(box => [box.top, box.left, box.width])"
    )
    assert len(boxes) == len(cells)
    assert boxes == sorted(boxes)
    rows: dict[float, float] = {}
    for top, _, width in boxes:
        rows[top] = rows.get(top, 0) + width
    assert max(rows.values()) - min(rows.values()) < 20, "a row has a gap"
    assert len(rows) == 4


def test_the_command_is_selected_whole(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    assert (
        chromium.evaluate("getComputedStyle(document.querySelector('.command code').parentElement).userSelect") == "all"
    )


def test_a_page_of_the_suite_is_small(tmp_path: Path) -> None:
    assert write_report(summarise(suite(tmp_path))).stat().st_size <= 1_500_000
