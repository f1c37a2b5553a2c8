"""What can go wrong, and with which exit code the tool then ends.

    CrucibleError                 code 1  base: never raised itself
    ├── CriterionFailed           code 1  a run was measured and a criterion does not hold
    ├── UsageError                code 2  an option, a configuration or an inventory file is wrong
    │   └── FormatError           code 2  a stored file cannot be read (newer format, damaged, hostile)
    ├── RigError                  code 3  the rig could not be built or reached
    └── InvalidMeasurement        code 4  numbers exist, but no claim may rest on them

A message says what happened, on which host or at which file and line; `hint` says what to do next.
Only tasks.py turns these into exit codes; a user's mistake never shows a traceback.
"""

from __future__ import annotations

from typing import ClassVar

INTERRUPTED = 130
"""Exit code after Ctrl-C: what was measured is kept with `status: aborted`."""


class CrucibleError(Exception):
    """Base of all errors a user may see: one line of message, one of hint."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CriterionFailed(CrucibleError):
    """A criterion of a finished run does not hold."""


class UsageError(CrucibleError):
    """The user asked for something that cannot be: a bad option, an unknown key, a wrong file."""

    exit_code = 2


class FormatError(UsageError):
    """A stored file cannot be read by this version, or is not what it says it is."""


class RigError(CrucibleError):
    """A host, a container engine or a playbook failed; `output` holds the last lines it printed."""

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "", output: str = "") -> None:
        super().__init__(message, hint=hint)
        self.output = output


class InvalidMeasurement(CrucibleError):
    """The generator was the limit, the state was not steady, or a comparison is refused."""

    exit_code = 4
