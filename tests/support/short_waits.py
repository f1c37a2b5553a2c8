"""Runs `./run TASK` with shorter waits: `python -m tests.support.short_waits MODULE:NAME=SECONDS … TASK …`."""

from __future__ import annotations

import importlib
import sys
from itertools import takewhile

from harness.__main__ import main


def shorten(waits: list[str]) -> None:
    """Sets constants of modules. Raises AttributeError where a module has no such constant any more."""
    for wait in waits:
        name, _, seconds = wait.partition("=")
        module, _, constant = name.partition(":")
        target = importlib.import_module(module)
        getattr(target, constant)
        setattr(target, constant, float(seconds))


if __name__ == "__main__":
    waits = list(takewhile(lambda argument: "=" in argument, sys.argv[1:]))
    shorten(waits)
    sys.argv = ["./run", *sys.argv[1 + len(waits) :]]
    main()
