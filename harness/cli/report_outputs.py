"""`report` with --format, --svg, --junit or --open: the content of the page in other forms."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.console import complain, say
from harness.cli.runs import RESULTS
from harness.errors import RigError, UsageError
from harness.plan.option_values import one_of
from harness.store.files import write_atomically
from harness.store.run_reader import find_run, load_run
from harness.text import plural, printable, strict_json

if TYPE_CHECKING:
    from harness.report.page import Page

FORMATS = ("text", "md", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What a call of `report` wants besides the page, as typed."""

    format: str | None = None
    svg: str | None = None
    junit: str | None = None
    open: bool = False

    def __bool__(self) -> bool:
        return bool(self.format or self.svg or self.junit or self.open)

    def require_alone(self, other: str) -> None:
        """Raises UsageError if anything is wanted: `other` is an option that excludes it."""
        wanted = {"--format": self.format, "--svg": self.svg, "--junit": self.junit, "--open": self.open}
        names = [name for name, value in wanted.items() if value]
        if names:
            raise UsageError(f"{names[0]} does not go with {other}", hint=f"call ./run report twice, or drop {other}")


def run_outputs(which: str | None, outputs: Outputs) -> None:
    """Prints the run in the wanted format and writes the files that are wanted.

    As text, and with --open, the run's page is rewritten too. Lines about files go to standard error where standard
    output is a document.
    """
    from harness.report import terminal
    from harness.report.outputs import browser, data, junit, markdown
    from harness.report.page import build, write_page
    from harness.report.run_summary import summarise

    kind = one_of("format", outputs.format or FORMATS[0], FORMATS)
    folder = _folder(outputs.svg)
    if outputs.junit:
        _require_file(Path(outputs.junit))
    run = load_run(find_run(which, RESULTS))
    summary = summarise(run)
    if kind == "text":
        terminal.print_summary(summary, run.path / "report.html")
    page = build(summary)
    tell = say if kind == "text" else complain
    if kind == "md":
        print(markdown.markdown(page, summary), end="")
    elif kind == "json":
        print(strict_json(data.as_data(page, summary)))
    if outputs.junit:
        path = Path(outputs.junit)
        _write(path, junit.junit(page, summary))
        tell(f"junit: {printable(path)}")
    if folder:
        tell(f"svg: {plural(_write_pictures(page, folder), 'picture')} in {printable(folder)}")
    if kind == "text" or outputs.open:
        path = write_page(page, run.path)
        if outputs.open:
            sys.stdout.flush()
            tell(browser.opened(path))


def _folder(text: str | None) -> Path | None:
    """Returns the folder of --svg, made where it is missing. Raises UsageError."""
    if text is None:
        return None
    folder = Path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name a folder that can be written"
        raise UsageError(f"--svg {printable(folder)}: {error.strerror or error}", hint=hint) from None
    return folder


def _require_file(path: Path) -> None:
    """Raises UsageError where no file can be at the path: before anything is computed, and no device is replaced."""
    if path.exists() and not path.is_file():
        raise UsageError(f"--junit {printable(path)}: it exists and is no file", hint="name a file")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--junit {printable(path)}: its folder does not exist", hint="create the folder first")


def _write_pictures(page: Page, folder: Path) -> int:
    """Writes each picture to a separate file; returns their number."""
    from harness.report.outputs.pictures import pictures, standalone

    named = pictures(page)
    for name, picture in named:
        _write(folder / f"{name}.svg", standalone(picture))
    return len(named)


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except RigError as error:
        raise RigError(error.message, hint="free disk space, or name a folder that can be written") from None
