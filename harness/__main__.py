"""The program behind `./run`: Invoke on tasks.py, with exit code 2 and a hint for a mistyped command line.

Plain Invoke exits with 1 there, which is the exit code of a failed criterion.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from invoke import Exit, Program
from invoke.exceptions import ParseError

from harness import __version__
from harness.cli.console import complain, protect_standard_files, report_crash
from harness.errors import INTERRUPTED

USAGE = 2
SEVERAL = "--compare"
"""The option of `report` that is followed by several values."""
VALUE_OF = {"report": "--run", "check": "--run", "bench": "--scenario"}
"""Task -> the option whose value one types without it."""
LEAST_COLUMN = 24
"""Columns for the help lines; with fewer they are printed below the names."""


class CommandLine(Program):
    """Invoke's program; a command line that it cannot parse gives one line, a hint and exit code 2."""

    def create_config(self) -> None:
        """Looks for tasks.py in the checkout, wherever the user is."""
        super().create_config()
        self.config.tasks.search_root = str(Path(__file__).resolve().parents[1])

    def parse_core(self, argv: list[str] | None) -> None:
        """Parses the options before the first task."""
        words = list(sys.argv if argv is None else argv)
        if words[2:3] in (["--help"], ["-h"]):  # Invoke asks for a task's positional arguments before it helps
            words[1:3] = ["--help", words[1]]
        words = repeated(words)
        with self._usage_errors():
            super().parse_core(words)
        sys.dont_write_bytecode = False  # Invoke's default recompiles harness/ at every start: 0.2 s

    def parse_tasks(self) -> None:
        """Parses the tasks and their options."""
        with self._usage_errors():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Handles --help, --list and --complete."""
        if self.args.complete.value:
            from harness.cli.completion import candidates  # noqa: PLC0415 - needed for a TAB only

            print("\n".join(candidates(self.core.remainder, self.parser.contexts, self.initial_context)))
            raise Exit
        with self._usage_errors():
            super().parse_cleanup()

    def list_flat(self) -> None:
        """Lists the tasks by group, each with its sentence."""
        from harness.cli.task_groups import GROUPS  # noqa: PLC0415 - needed for help only

        sentences = dict(self._make_pairs(self.scoped_collection))
        for title, names in GROUPS.items():
            print(f"{title}:\n")
            self.print_columns([(name, sentences[name]) for name in names if name in sentences])
        print("./run TASK --help explains a task and has examples.")

    def print_task_help(self, name: str) -> None:
        """Prints the help of a task, then its examples."""
        from harness.cli.task_groups import examples_of  # noqa: PLC0415 - needed for help only

        super().print_task_help(name)
        print("Examples:")
        for example in examples_of(name):
            print(f"{self.leading_indent}{example}")
        print()

    def print_columns(self, tuples: Sequence[tuple[str, str | None]]) -> None:
        """Prints names and help lines in two columns; below each other where the terminal is too narrow for them."""
        columns = max(shutil.get_terminal_size().columns - 1, LEAST_COLUMN)
        indent = self.leading_indent
        column = len(indent) + max(len(name) for name, _ in tuples) + self.col_padding
        below = columns - column < LEAST_COLUMN
        for name, text in tuples:
            if below:
                print(f"{indent}{name}")
            first = indent * 3 if below else f"{indent}{name}".ljust(column)
            rest = indent * 3 if below else " " * column
            print(textwrap.fill(text or "", columns, initial_indent=first, subsequent_indent=rest) or first.rstrip())
        print()

    @contextmanager
    def _usage_errors(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            message, hint = self._explain(error)
            raise Exit(f"error: {message}\nhint: {hint}", code=USAGE) from None
        except ValueError as error:  # an option of Invoke that needs a number
            raise Exit(f"error: {error}\nhint: ./run --help", code=USAGE) from None
        except Exit as end:  # --help and --list end with it too, with code 0
            raise Exit(f"error: {end.message}\nhint: ./run --list", code=USAGE) if end.code else end from None

    def _explain(self, error: ParseError) -> tuple[str, str]:
        from harness.text import nearest  # noqa: PLC0415 - needed for errors only

        task = error.context.name if error.context else None
        usage = f"./run {task} --help" if task else "./run --help"
        text = str(error)
        if lacking := re.fullmatch(r"'[\w-]+' did not receive required positional arguments: (.*)", text):
            return f"{task} needs {lacking[1].replace(chr(39), '').upper()}", usage
        if missing := re.fullmatch(r"Flag <Argument: ([\w-]+).*> needed value and was not given one!", text):
            return f"--{missing[1]} needs a value", usage
        unknown = re.fullmatch(r"No idea what (['\"])(.*)\1 is!", text, re.DOTALL)
        if not unknown:
            return text, usage
        word = unknown[2]
        if word.startswith("-"):
            known = [*error.context.flags, "--help"] if error.context else []
            where = f"{task} has" if task else "there is"
            return f"{where} no option '{word}'", f"{nearest(word, known)} ({usage})"
        return f"there is no task '{word}'", self._meant(word) or nearest(word, self.collection.task_names)

    def _meant(self, word: str) -> str:
        """Returns a hint for a word that is an option, or the value of an option of the task before it; else empty."""
        if word in ("help", "list", "version"):
            return f"did you mean './run --{word}'?"
        words = self.argv[1:]
        before = words[words.index(word) - 1] if word in words[1:] else ""
        if before not in self.collection.task_names:
            return ""
        if option := VALUE_OF.get(before):
            return f"did you mean './run {before} {option} {word}'? (./run {before} --help)"
        return f"values follow their options: ./run {before} --help"


def repeated(words: Sequence[str]) -> list[str]:
    """Returns the command line with `--compare A B C` of `report` as `--compare A --compare B --compare C`."""
    found = list[str]()
    inside = False
    for place, word in enumerate(words):
        if word.startswith("-"):
            inside = word.partition("=")[0] == SEVERAL and "report" in words[:place]
            if word == "--":
                return [*found, *words[place:]]
        elif inside and found[-1] != SEVERAL:
            found.append(SEVERAL)
        found.append(word)
    return found


def enter_callers_folder() -> None:
    """Goes back to the folder from which `run` was called: paths of options and environment are relative to it."""
    folder = os.environ.pop("PGCRUCIBLE_CWD", None)
    if folder is None:
        return
    try:
        os.chdir(folder)
    except OSError as error:
        complain(f"error: {folder}: {error.strerror}")
        complain("hint: call ./run from a folder that exists")
        sys.exit(USAGE)


def main() -> None:
    """Runs the command line. Exit code 1 is left to a failed criterion: any other end has its own."""
    protect_standard_files()
    enter_callers_folder()
    try:
        CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"], version=__version__).run()
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):  # Invoke ends with 1 then
            sys.exit(INTERRUPTED)
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BaseException as error:  # noqa: BLE001  # a panic of a library in Rust is no Exception
        sys.exit(report_crash(error))


if __name__ == "__main__":
    main()
