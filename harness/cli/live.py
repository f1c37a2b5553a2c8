"""A few lines at the bottom of a terminal that change in place; what `say` prints appears above them.

Only on a terminal that can move its cursor and that a person watches: elsewhere (a pipe, TERM=dumb, CI) lines are
printed one after the other.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from harness.cli import console as lines
from harness.text import printable

REFRESH_PER_S = 4.0


def live_console() -> Console | None:
    """Returns the console for changing lines, or None where lines are printed one after the other."""
    if lines.is_quiet() or os.environ.get("CI"):
        return None
    console = Console(file=lines.progress_file(), highlight=False)
    return console if console.is_terminal and not console.is_dumb_terminal else None


@contextlib.contextmanager
def bottom_lines(console: Console, render: Callable[[int], list[str]]) -> Iterator[None]:
    """Shows `render(columns)` at the bottom, several times per second, until the context ends; then they are gone."""

    def renderable() -> RenderableType:
        width = console.width
        return Text("\n".join(printable(line)[: width - 1] for line in render(width)), no_wrap=True, overflow="crop")

    with Live(console=console, get_renderable=renderable, refresh_per_second=REFRESH_PER_S, transient=True):
        yield


@contextlib.contextmanager
def live_lines(title: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[str], None]]:
    """Yields a function that takes lines of progress.

    On a terminal the newest `task …` line is at the bottom with `title` and the elapsed time, and other lines stay
    above it; elsewhere each is printed after the elapsed time.
    """
    began = clock()
    console = live_console()
    if console is None:
        yield lambda line: lines.say(f"{elapsed(clock() - began)}  {line}")
        return
    newest = "starting"

    def take(line: str) -> None:
        nonlocal newest
        if line.startswith("task "):
            newest = line
        else:
            lines.say(line)

    def render(_: int) -> list[str]:
        return [f"{title}  {elapsed(clock() - began)}", newest]

    with bottom_lines(console, render):
        yield take


def elapsed(seconds: float) -> str:
    """Returns a time as `0:05`, `12:30` or `1:02:03`."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
