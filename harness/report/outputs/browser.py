"""Opens a page in the user's browser, if there is one."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from harness.text import printable


def opened(page: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Opens the page; returns a line that says where it is, or why it was not opened.

    Without a display no browser is started: one of the terminal would take it over.
    """
    where = printable(page.absolute())
    has_display = sys.platform != "linux" or any(map(environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if not has_display:
        return f"no display here: open {where} in a browser"
    if not webbrowser.open(page.absolute().as_uri()):
        return f"no browser could be started: open {where} in one"
    return f"opened: {where}"
