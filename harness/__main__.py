"""What `./run` starts: Invoke on tasks.py, with our exit code and our two lines for a mistyped command line.

Invoke itself ends with 1 there, which our contract keeps for a criterion that fails.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from invoke import Exit, Program
from invoke.exceptions import ParseError

from harness import __version__

USAGE = 2


class CommandLine(Program):
    """Invoke's program; what it cannot parse is one line, a hint, and exit code 2."""

    def parse_core(self, argv: list[str] | None) -> None:
        """Options before the first task."""
        with self._usage_errors():
            super().parse_core(argv)
        sys.dont_write_bytecode = False  # Invoke's default would compile harness/ anew at every start: 0.2 s

    def parse_tasks(self) -> None:
        """Tasks and their options."""
        with self._usage_errors():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """--help and --list."""
        with self._usage_errors():
            super().parse_cleanup()

    @contextmanager
    def _usage_errors(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            message, hint = self._explain(error)
            raise Exit(f"error: {message}\nhint: {hint}", code=USAGE) from None
        except ValueError as error:  # an option of Invoke's own that wants a number
            raise Exit(f"error: {error}\nhint: ./run --help", code=USAGE) from None
        except Exit as end:  # also how --help and --list end well
            raise Exit(f"error: {end.message}\nhint: ./run --list", code=USAGE) if end.code else end from None

    def _explain(self, error: ParseError) -> tuple[str, str]:
        from harness.text import nearest  # noqa: PLC0415 - what is typed right need not wait for it

        task = error.context.name if error.context else None
        usage = f"./run {task} --help" if task else "./run --help"
        text = str(error)
        if lacking := re.fullmatch(r"Flag <Argument: ([\w-]+).*> needed value and was not given one!", text):
            return f"--{lacking[1]} needs a value", usage
        unknown = re.fullmatch(r"No idea what (['\"])(.*)\1 is!", text, re.DOTALL)
        if not unknown:
            return text, usage
        word = unknown[2]
        if word.startswith("-"):
            known = [*error.context.flags, "--help"] if error.context else []
            where = f"{task} has" if task else "there is"
            return f"{where} no option '{word}'", f"{nearest(word, known)} ({usage})"
        return f"there is no task '{word}'", nearest(word, self.collection.task_names)


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # ./run --list | head
        CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"], version=__version__).run()
