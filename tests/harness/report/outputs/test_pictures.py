"""report --svg: each picture is a file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.report.charts.theme import DARK, PAPER
from harness.report.outputs.pictures import pictures, standalone
from harness.report.page_model import Picture
from tests.support.browser import Browser, browser
from tests.support.builders import quickstart
from tests.support.pages import page_of
from tests.support.report_pages import HOSTILE, RUNS
from tests.support.suite import suite

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Picture]]:
    return pictures(page_of(suite(tmp_path_factory.mktemp("suite"))))


@pytest.mark.parametrize("kind", RUNS)
def test_pictures_of_every_run_are_whole_documents_with_safe_names(tmp_path: Path, kind: str) -> None:
    named = pictures(page_of(RUNS[kind](tmp_path)))
    names = [name for name, _ in named]
    assert len(names) == len(set(names))
    assert "rig" in names
    for name, picture in named:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), name
        text = standalone(picture)
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert root.get("font-family")
        assert root.findtext(f"{SVG}title") == (picture.title or "The rig that was measured")
        shown = "".join("".join(one.itertext()) for one in root.iter(f"{SVG}text"))
        assert shown.replace(" ", "").startswith((picture.title or "The rig that")[:20].replace(" ", ""))
        assert not re.search(r"(href|src|style|onload)=|url\((?!#)", re.sub(r">[^<]*<", "><", text))
        for one in re.findall(r"url\(#([^)]+)\)", text):
            assert f'id="{one}"' in text


def test_every_picture_of_the_page_is_there_by_what_it_shows(tmp_path: Path) -> None:
    page = page_of(quickstart(tmp_path))
    named = dict(pictures(page))
    assert {"rig", "concurrent-writes-writes-kept", "concurrent-writes-latency-by-percentile"} <= named.keys()
    assert named["rig"] is page.rig
    assert named["concurrent-writes-writes-kept"] is page.sections[0].picture


def test_pictures_of_the_suite_have_their_own_names(drawn: list[tuple[str, Picture]]) -> None:
    assert len(drawn) > 30
    assert {"scaling-speed-up", "throughput-strategies", "sqlite-vs-postgres-acknowledged-by-backend"} <= {
        name for name, _ in drawn
    }


def test_colours_are_those_of_light_pages(drawn: list[tuple[str, Picture]]) -> None:
    used = {colour for _, one in drawn for colour in re.findall(r'(?:fill|stroke)="([^"]+)"', standalone(one))}
    assert PAPER in used
    assert "currentColor" not in used
    assert not used & (set(DARK.values()) - set(DARK))


def test_each_opens_alone_in_a_browser_and_no_text_is_cut(
    chromium: Browser, drawn: list[tuple[str, Picture]], tmp_path: Path
) -> None:
    title = "A long finding " * 12 + HOSTILE
    one = drawn[1][1]
    long = Picture(name="long", title=title, subtitle=title, caption=title, svg=one.svg, alt=HOSTILE)
    for name, picture in [*drawn, ("long", long)]:
        file = tmp_path / f"{name}.svg"
        file.write_text(standalone(picture), encoding="utf-8")
        chromium.open(file, dark=True)
        assert chromium.errors == []
        assert chromium.requests == [file.as_uri()]
        assert chromium.evaluate("document.documentElement.tagName") == "svg"
        beyond = chromium.evaluate(
            "(() => { const all = document.documentElement.getBoundingClientRect();"
            " return [...document.querySelectorAll('text')].filter(one => { const box = one.getBoundingClientRect();"
            " return box.width && (box.right > all.right + 1 || box.bottom > all.bottom + 1 || box.left < all.left - 1)"
            " }).map(one => one.textContent.slice(0, 80)) })()"
        )
        assert beyond == [], name
