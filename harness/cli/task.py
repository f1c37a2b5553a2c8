"""What every task has in common: its help lines, and what becomes of its errors.

Imported by tasks.py, and thus on every TAB: nothing heavy at its top.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Sequence
from inspect import Parameter, Signature, signature
from typing import Any

import invoke
from invoke import Exit

from harness.plan.option_values import require_texts
from harness.plan.options import Option

Texts = Sequence[str] | None
"""The type of an option that takes several values: `--compare A B`, which is read as `--compare A --compare B`."""

STORING = {"bench", "quickstart"}
"""Tasks whose results are stored: their exit code is that of the verdict, even if their output was lost."""


def _guard(body: Callable[..., None], known: Collection[str]) -> Callable[..., None]:
    """Turns a CrucibleError into one line and its exit code, a signal into 128 + its number, others into 3 or 70.

    `known`: the keywords of its options, which the configuration may fill.
    """

    @functools.wraps(body)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from harness.cli.configured import configured
        from harness.cli.console import complain, protect_standard_files, report_crash, require_written_output
        from harness.cli.signals import interruptible
        from harness.errors import INTERRUPTED, CrucibleError, RigError

        protect_standard_files()
        try:
            require_texts(kwargs)
            with interruptible():
                body(*args, **configured(body.__name__, kwargs, known))
            if body.__name__ not in STORING:
                require_written_output()
        except CrucibleError as error:
            for line in error.output.splitlines() if isinstance(error, RigError) else ():
                complain(line)
            complain(f"error: {error.message}")
            if error.hint:
                complain(f"hint: {error.hint}")
            raise Exit(code=error.exit_code) from None
        except KeyboardInterrupt as error:
            print("\ninterrupted", file=sys.stderr)
            raise Exit(code=getattr(error, "exit_code", INTERRUPTED)) from None
        except (SystemExit, Exit):
            raise
        except BaseException as error:  # noqa: BLE001  # a panic of a library in Rust is no Exception
            raise Exit(code=report_crash(error)) from None

    return guarded


def _without_rig(parameter: Parameter) -> Parameter:
    """Returns `rig` without its default, which the configuration fills; a typed value differs from None."""
    return parameter.replace(default=None) if parameter.name == "rig" else parameter


class _Task(invoke.Task[Any]):
    """A task that keeps its help lines: Invoke empties them as it makes the arguments of a parser."""

    def get_arguments(self, *args: Any, **kwargs: Any) -> Any:
        kept = dict(self.help)
        try:
            return super().get_arguments(*args, **kwargs)
        finally:
            self.help = kept


def task(*options: Option, **help_lines: str) -> Callable[..., Any]:
    """A task without one-letter options: `--hosts` would take -h away from help.

    With `options` its signature is made from them: Invoke takes the command line, --help and completion from it.
    """

    def decorate(body: Callable[..., None]) -> Any:
        kind = Parameter.POSITIONAL_OR_KEYWORD
        if options:
            parameters = [Parameter(option.keyword, kind, default=option.default) for option in options]
        else:
            parameters = [_without_rig(parameter) for parameter in [*signature(body).parameters.values()][1:]]
        guarded = _guard(body, [parameter.name for parameter in parameters])
        guarded.__signature__ = Signature([Parameter("_", kind), *parameters])  # type: ignore[attr-defined]  # read by inspect
        lines = {name.replace("_", "-"): line for name, line in help_lines.items()}
        lines |= {option.name: option.help for option in options}
        several = [parameter.name for parameter in parameters if parameter.annotation == "Texts"]
        return invoke.task(auto_shortflags=False, help=lines, iterable=several, klass=_Task)(guarded)

    return decorate
