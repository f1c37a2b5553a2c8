"""The errors that users see, and their exit codes.

    CrucibleError                 code 1  base class, never raised itself
    ├── CriterionFailed           code 1  a criterion of a finished run does not hold
    ├── UsageError                code 2  an option, a configuration or an inventory file is wrong
    │   └── FormatError           code 2  a stored file cannot be read (newer format, damaged, hostile)
    ├── RigError                  code 3  a host, an engine, a playbook or the disk failed
    └── InvalidMeasurement        code 4  there are figures, but no claim may use them

The message names the failure and its host, or its file and line; `hint` is what to do next.
harness/cli/task.py turns these into exit codes; a user's mistake never shows a traceback.
"""

from __future__ import annotations

from typing import ClassVar

INTERNAL = 70
"""Exit code of an error that nothing expects, a defect of pgcrucible (EX_SOFTWARE of sysexits.h)."""
INTERRUPTED = 130
"""Exit code after Ctrl-C; finished trials are kept with `status: aborted`."""


class CrucibleError(Exception):
    """Base of all errors that users see: a message and a hint of one line each."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CriterionFailed(CrucibleError):
    """A criterion of a finished run does not hold."""


class UsageError(CrucibleError):
    """An option, a configuration key or a file is wrong."""

    exit_code = 2


class FormatError(UsageError):
    """A stored file is damaged, or of a format that this version does not read."""


class RigError(CrucibleError):
    """A host, a container engine, a playbook or the disk failed; `output` holds the last lines of its output."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class InvalidMeasurement(CrucibleError):
    """The generator was the bottleneck, the state was not steady, or runs cannot be compared."""

    exit_code = 4
