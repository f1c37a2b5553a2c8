"""Formats a comparison as plain text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from harness.analysis.stats import CLAIM_TRIALS
from harness.compare.compare import Comparison
from harness.compare.rows import Row
from harness.text import printable

HEAD = ("metric", "A", "B", "B / A", "95 % interval", "p (Holm)", "n", "verdict")


def texts(row: Row) -> tuple[str, ...]:
    """Returns one row under `HEAD`; `-` where there is no value, such as the interval of too few trials."""
    ratio = row.ratio
    return (
        printable(row.metric),
        figure(row.median_a),
        figure(row.median_b),
        f"{ratio.value:.3f}" if ratio else "-",
        _interval(row),
        "-" if row.p is None else p_value(row.p),
        f"{row.n_a} / {row.n_b}",
        verdict(row),
    )


def _interval(row: Row) -> str:
    """Returns both ends of the interval; `-` where the trials or blocks are too few for one."""
    few = min(row.n_a, row.n_b) < CLAIM_TRIALS and not row.of_runs
    if row.ratio is None or math.isinf(row.ratio.high) or few:
        return "-"
    return f"{row.ratio.low:.3f} … {row.ratio.high:.3f}"


def p_value(p: float) -> str:
    """Returns `0.012`, or `<0.001`."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def verdict(row: Row) -> str:
    """Returns `slower by 12.3%`, or the verdict with its reason."""
    if row.verdict in ("faster", "slower"):
        return f"{row.verdict} by {row.change:.1%}"
    return f"{row.verdict} ({printable(row.note)})" if row.note else row.verdict


def text(comparison: Comparison) -> str:
    """Returns the whole comparison as text: differences of the environments, one block per cell, warnings."""
    return "\n".join(_lines(comparison)) + "\n"


def _lines(comparison: Comparison) -> Iterator[str]:
    yield f"A  {printable(comparison.run_a)}"
    yield f"B  {printable(comparison.run_b)}"
    if comparison.anyway:
        yield "! compared in spite of different environments (--anyway): this proves nothing"
    for one in comparison.differences:
        yield f"{'!' if one.forbids else ' '} {printable(str(one))}"
    table = [texts(row) for row in comparison.rows]
    widths = [max(map(len, column)) for column in zip(HEAD, *table, strict=True)]
    yield ""
    yield _aligned(HEAD, widths)
    before = ""
    for row, line in zip(comparison.rows, table, strict=True):
        if row.cell != before:
            yield printable(row.cell)
            before = row.cell
        yield _aligned(line, widths)
    yield ""
    for warning in comparison.warnings:
        yield f"! {printable(warning)}"
    floors = ", ".join(f"{printable(m)} {value - 1:.1%}" for m, value in comparison.noise_floor.items())
    source = printable(", ".join(comparison.floor_sources)) or "assumed"
    yield f"p: {how_tested(comparison)}. Noise floor, at most: {floors} ({source})."


def how_tested(comparison: Comparison) -> str:
    """Returns the test and its corrections, such as `Mann-Whitney, …, Holm-corrected over the 4 rows tested`."""
    all_rows = f"with --repeat {comparison.needed} on both sides each row is"
    few = sum(row.verdict == "too few trials" for row in comparison.rows)
    if not comparison.tested:
        return f"no row was tested{f'; {all_rows}' if few else ''}"
    rows = f"{comparison.tested} row{'s' if comparison.tested > 1 else ''}"
    rest = f" and over {comparison.comparisons} comparisons" if comparison.comparisons > 1 else ""
    rest += f"; {few} had too few trials for a test of so many rows, {all_rows}" if few else ""
    if max(comparison.runs) > 1:
        return f"Student's t over the medians of the runs, Holm-corrected over the {rows} tested{rest}"
    return f"Mann-Whitney, exact to 40 trials, Holm-corrected over the {rows} tested{rest}"


def figure(value: float | None) -> str:
    """Returns a figure with four significant digits and no exponent."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.4g}"


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    first, *middle, last = zip(line, widths, strict=True)
    numbers = "  ".join(text.rjust(width) for text, width in middle)
    return f"  {first[0].ljust(first[1])}  {numbers}  {last[0]}".rstrip()
