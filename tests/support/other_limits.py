"""Runs `./run TASK` with other limits: `python -m tests.support.other_limits MODULE:NAME=NUMBER … TASK …`.

Shorter waits, or a machine that may be as busy as it likes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from itertools import takewhile

from harness.__main__ import main

BUSY_MACHINE = (
    "harness.analysis.foreign_load:LIMIT=9",
    "harness.load.generator_checks:MAX_STALLED=1",
    "harness.load.generator_checks:MAX_LAG_SHARE=99",
    "harness.load.generator_checks:MAX_APART_MS=60000",
)
"""Trials are not doubted because other tests use the machine."""


def set_limits(limits: Iterable[str]) -> None:
    """Sets constants of modules. Raises AttributeError where a module has no such constant."""
    for limit in limits:
        name, _, number = limit.partition("=")
        module, _, constant = name.partition(":")
        target = importlib.import_module(module)
        getattr(target, constant)
        setattr(target, constant, float(number))


if __name__ == "__main__":
    limits = list(takewhile(lambda argument: "=" in argument, sys.argv[1:]))
    set_limits(limits)
    sys.argv = ["./run", *sys.argv[1 + len(limits) :]]
    main()
