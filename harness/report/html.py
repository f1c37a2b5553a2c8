"""Fills the templates of pages: escaped text, one style sheet, no script."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.report.charts.theme import DARK
from harness.report.formatting import SYMBOLS, spaced
from harness.text import printable

TEMPLATES = Path(__file__).parent / "templates"


def as_html(template: str, **content: object) -> str:
    """Returns a template as HTML. All text is escaped, and characters that cannot be printed are removed."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: _unbroken(printable(value)) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pieces"] = _pieces
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8") + _dark_drawings()
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = environment.get_template(template).render(
        style=style, style_hash=f"sha256-{digest}", symbols=SYMBOLS, **content
    )
    return text.encode("utf-8", "replace").decode("utf-8")


def _pieces(text: str) -> list[str]:
    """Returns the parts between which a line may be broken in names of settings, which have no blanks."""
    return re.split(r"(?<=[_=])(?=\w)", text)


def _unbroken(text: str) -> str:
    """Returns the text with a number and its per cent sign on one line."""
    return re.sub(r"(?<=\d) %(?!\w)", "\N{NO-BREAK SPACE}%", spaced(text))


def _dark_drawings() -> str:
    """Returns the style that replaces the colours of drawings on a dark page."""
    rules = "".join(
        f'svg [{kind}="{light}" i]{{{kind}:{dark}}}' for light, dark in DARK.items() for kind in ("fill", "stroke")
    )
    return f"@media screen and (prefers-color-scheme: dark){{{rules}}}\n"
