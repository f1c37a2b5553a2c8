"""The pictures of a page as SVG files that need no page: with title, font and a light background. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape

from harness.report.charts.theme import CONFIG, INK, PAPER, PICTURE, QUIET, lines
from harness.report.page import Page
from harness.report.page_model import Block, Fold, Picture
from harness.text import printable

MARGIN = 12
"""Around a picture in px."""
MOST_LETTERS = 60
"""Characters of the name of a scenario in the name of a file."""
RIG_TITLE = "The rig that was measured"
_TEXTS = (("title", 15, 60, INK), ("subtitle", 12, 82, QUIET), ("caption", 11, 92, QUIET))
"""Field of a Picture -> font size in px, characters of a line, colour."""


def pictures(page: Page) -> list[tuple[str, Picture]]:
    """Returns all pictures in the order of the page, each with the name of its file without its end.

    The name is the scenario and what is shown: `scaling-speed-up`. It does not depend on the figures.
    """
    named = [("rig", page.rig)] if page.rig else []
    for section in page.sections:
        of_section = [*([section.picture] if section.picture else []), *pictures_in(section.blocks)]
        named += [(f"{_letters(section.name)}-{_letters(one.name)}", one) for one in of_section]
    named += [(_letters(one.name), one) for one in pictures_in([*page.validity, *page.environment])]
    times: Counter[str] = Counter()
    unique: dict[str, Picture] = {}
    for name, one in named:
        free = name
        while free in unique:
            times[name] += 1
            free = f"{name}-{times[name] + 1}"
        unique[free] = one
    return list(unique.items())


def pictures_in(blocks: Iterable[Block]) -> Iterator[Picture]:
    """Returns the pictures of blocks, those behind folds too, in their order."""
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Fold):
            yield from pictures_in(block.blocks)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:MOST_LETTERS].strip("-") or "unnamed"


def _squeezed(line: str, px: int) -> str:
    """Returns the attributes that make a line of wide letters as wide as the picture; empty for a usual line."""
    wide = sum(1.0 if char in "wmWM@%" or ord(char) > 0xFF else 0.55 for char in line) * px
    return f' textLength="{PICTURE}" lengthAdjust="spacingAndGlyphs"' if wide > PICTURE * 1.15 else ""


def standalone(picture: Picture) -> str:
    """Returns a picture as a whole SVG document with its title, subtitle and caption as text."""
    drawing = re.sub(r"^<svg[^>]*>", "", picture.svg.strip(), count=1)
    size = re.match(r'<svg[^>]*\bviewBox="([-\d. ]+)"', picture.svg.strip())
    box = size[1] if size else f"0 0 {PICTURE} {PICTURE}"
    width, height = (float(value) for value in box.split()[2:])
    title = picture.title or RIG_TITLE
    parts = {"title": title, "subtitle": picture.subtitle, "caption": picture.caption.replace("`", "")}
    texts = list[str]()
    y = float(MARGIN)
    for name, px, most, colour in _TEXTS:
        if name == "caption":
            begin, y = y, y + height
        weight = ' font-weight="600"' if name == "title" else ""
        broken = re.sub(rf"\S{{{most // 2}}}(?=\S)", r"\g<0> ", printable(parts[name]))
        for line in lines(broken, most) if broken else ():
            y += px * 1.35
            texts.append(
                f'<text x="{MARGIN}" y="{y:g}" font-size="{px}" fill="{colour}"{weight}{_squeezed(line, px)}>'
                f"{escape(line)}</text>"
            )
        y += 4
    whole = max(width, PICTURE) + 2 * MARGIN
    end = y + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:g}" height="{end:g}" viewBox="0 0 {whole:g} {end:g}" '
        f'font-family="{escape(CONFIG["font"])}" role="img" aria-labelledby="title desc">'
        f'<title id="title">{escape(printable(title))}</title><desc id="desc">{escape(printable(picture.alt))}</desc>'
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(texts)}'
        f'<svg x="{MARGIN}" y="{begin:g}" width="{width:g}" height="{height:g}" viewBox="{box}">{drawing}</svg>\n'
    )
