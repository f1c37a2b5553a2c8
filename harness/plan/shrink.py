"""Reduces a failing schedule to the fewest faults that still fail: delta debugging. Pure.

Zeller & Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002 (ddmin).
"""

from __future__ import annotations

from collections.abc import Callable


def ddmin(count: int, fails: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """Returns the numbers of a smallest set of `count` faults of which `fails` holds; it has to hold of all together.

    No fault can be taken from the result without making it pass, if a set always fails or never does.
    """
    kept, parts = tuple(range(count)), 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        chunks = [kept[start : start + size] for start in range(0, len(kept), size)]
        rests = [tuple(one for one in kept if one not in chunk) for chunk in chunks] if len(chunks) > 2 else []
        for candidate in (*chunks, *rests):
            if fails(candidate):
                kept, parts = candidate, 2 if candidate in chunks else max(len(chunks) - 1, 2)
                break
        else:
            if len(chunks) == len(kept):
                break
            parts = min(len(kept), 2 * parts)
    return kept
