"""Printing for the tasks. Output that cannot be written or encoded never ends a task."""

from __future__ import annotations

import codecs
import collections
import contextlib
import errno
import io
import math
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Literal, TextIO

from harness.errors import INTERNAL, RigError
from harness.text import printable

Progress = Literal["stdout", "stderr", "nowhere"]
MOST_LINES = 10_000
POLL_MS = 100
DRAIN_S = 5.0
"""Longest wait at the end for lines that the reader has not taken."""
_MARKS = {"✓": "+", "✗": "x", "…": "...", "→": "->", "≥": ">=", "≤": "<=", "\u00d7": "x", "µ": "u", "√": "sqrt"}
_MARKS |= {"─": "-", "│": "|", "└": "`", "├": "|", "\u2013": "-", "\u2014": "-", "·": "-", "•": "*"}
"""Marks of a report in ASCII. A `?` would mean that a criterion is unknown."""


_background: BackgroundLines | None = None
"""Where `say` puts its lines; None: it prints them itself."""
_progress: Progress = "stdout"
"""Where lines of progress go: with --json to standard error, with --quiet nowhere."""


def say(line: str) -> None:
    """Prints one line of progress and flushes it, so that it also appears at once in a pipe.

    Inside `background_lines` it never waits for the reader.
    """
    if _progress == "nowhere":
        return
    if _background is None:
        print(printable(line), flush=True, file=progress_file())
    else:
        _background.put(printable(line))


def is_quiet() -> bool:
    """Whether lines of progress are not printed."""
    return _progress == "nowhere"


def progress_file() -> TextIO:
    """Returns the file of the lines of progress."""
    return sys.stderr if _progress == "stderr" else sys.stdout


@contextlib.contextmanager
def progress(*, quiet: bool, as_json: bool) -> Iterator[None]:
    """Sends lines of progress nowhere (`quiet`), or to standard error (`as_json`), while the context lasts."""
    global _progress  # noqa: PLW0603  # one console per process
    before = _progress
    if quiet:
        _progress = "nowhere"
    elif as_json:
        _progress = "stderr"
    try:
        yield
    finally:
        _progress = before


class BackgroundLines:
    """Prints lines from a separate thread, once they can be written without waiting.

    Standard output takes nothing while its terminal is stopped (Ctrl-S) or its pipe is full. Keeps the newest
    MOST_LINES meanwhile.
    """

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=MOST_LINES)
        self._changed = threading.Condition()
        self._end_s = math.inf
        self._thread = threading.Thread(target=self._print, daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Appends a line."""
        with self._changed:
            self._lines.append(line)
            self._changed.notify()

    def end(self) -> None:
        """Waits until all lines are printed, at most DRAIN_S; drops those that are left then."""
        with self._changed:
            self._end_s = time.monotonic() + DRAIN_S
            self._changed.notify()
        self._thread.join()

    def _print(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._end_s < math.inf)
            while not _is_writable():
                if time.monotonic() > self._end_s:
                    return
            with self._changed:
                if not self._lines:
                    return
                line = self._lines.popleft()
            print(line, flush=True, file=progress_file())


def _is_writable() -> bool:
    """Waits up to POLL_MS until the file of the progress takes a line; True if that cannot be asked."""
    try:
        poll = select.poll()
        poll.register(progress_file().fileno(), select.POLLOUT)
        return bool(poll.poll(POLL_MS))
    except (OSError, ValueError):
        return True


@contextlib.contextmanager
def background_lines() -> Iterator[None]:
    """Makes `say` print in the background while the context lasts: output that is not read stalls no measurement."""
    global _background  # noqa: PLW0603  # one console per process
    if _background is not None:
        yield
        return
    _background = BackgroundLines()
    try:
        yield
    finally:
        lines, _background = _background, None
        lines.end()


def confirm(question: str) -> bool:
    """Asks on the terminal; only `y` or `yes` is a yes."""
    try:
        answer = input(f"{printable(question)} [y/N] ")
    except EOFError:  # Ctrl-D
        return False
    return answer.strip().lower() in ("y", "yes")


def complain(line: str) -> None:
    """Prints one line to standard error."""
    print(printable(line), file=sys.stderr, flush=True)


def protect_standard_files() -> None:
    """Makes standard output and error never fail, and opens those of the three standard files that are closed.

    A closed one would be given to the next file that is opened. Does nothing where a caller has replaced the streams.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # the signature of the standard library
    codecs.register_error("marks", _in_marks)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # open as long as the process
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _stream(number, "utf-8" if stream is None else stream.encoding))


def _stream(number: int, encoding: str) -> io.TextIOWrapper:
    buffer = io.BufferedWriter(_Output(number))
    lines = number == 2 or os.isatty(number)  # the number of standard error
    return io.TextIOWrapper(buffer, encoding=encoding, errors="marks", line_buffering=lines)


def _in_marks(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_MARKS.get(char, "?") for char in error.object[error.start : error.end]), error.end


class _Output(io.RawIOBase):
    """A standard file; what cannot be written is dropped. `problem`: the first reason, unless the reader went away."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.is_gone = False
        self.problem: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        while not self.is_gone:
            try:
                return os.write(self._number, view)
            except BlockingIOError:
                select.select([], [self._number], [])
            except OSError as error:  # the reader has ended (`| head`), the disk is full, the terminal is closed
                self.is_gone = True
                self.problem = None if error.errno == errno.EPIPE else error
        return view.nbytes


def has_reader() -> bool:
    """Returns False once standard output could not be written, for instance because `| head` has ended."""
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return not (isinstance(output, _Output) and output.is_gone)


def require_written_output() -> None:
    """Raises RigError if standard output was not written for another reason than that its reader has ended."""
    sys.stdout.flush()
    output = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(output, _Output) and output.problem:
        raise RigError(
            f"standard output could not be written: {output.problem.strerror}", hint="free disk space, then repeat"
        )


def report_crash(error: BaseException) -> int:
    """Stores the traceback of an unexpected error, prints one line and a hint, and returns the exit code.

    3 where the machine is the cause (a file, memory), else 70, a defect of pgcrucible. Never 1: that is the exit code
    of a failed criterion.
    """
    import tempfile  # for errors only: they would delay every start
    import traceback

    try:
        number, path = tempfile.mkstemp(prefix="pgcrucible-traceback-", suffix=".txt")
        with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
            traceback.print_exception(error, file=file)
        where = f"the traceback is in {path}"
    except OSError:
        where = "the traceback could not be stored"
    complain(f"error: {type(error).__name__}: {printable(error, 300) or 'no message'}")
    if isinstance(error, OSError | MemoryError):
        complain(f"hint: a file, the network or the memory failed; {where}")
        return RigError.exit_code
    complain(f"hint: this is a defect of pgcrucible, please report it; {where}")
    return INTERNAL
