"""The content of the page as data for programs: `report --format json`. Pure.

The keys are those of docs/results.md. A key is never removed or renamed without another `SCHEMA`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from harness.analysis.trial_validity import unreplaced
from harness.model import VERDICTS, Finding
from harness.report.criteria import CRITERIA
from harness.report.page import Page
from harness.report.page_model import Block, Fold, Picture, Section, Table, Value
from harness.report.run_summary import RunSummary
from harness.report.summary import CellSummary, ScenarioSummary
from harness.report.tiles import Tile

SCHEMA = 1
"""Version of the keys and their meaning."""


def as_data(page: Page, summary: RunSummary) -> Mapping[str, Any]:
    """Returns what the page says as mappings, lists, texts and numbers; `summary` is the one it was made of.

    Numbers that are not finite are left to `text.strict_json`, which makes them null.
    """
    manifest = summary.run.manifest
    others, folded = page.notices.others, page.notices.folded
    return {
        "schema": SCHEMA,
        "run": {
            "id": page.run_id,
            "status": page.status,
            "verdict": manifest.verdict,
            "gate": manifest.gate and manifest.gate.model_dump(mode="json"),
            "started": page.started,
            "finished": page.finished,
            "trials": len(summary.run.rows),
            "invalid_trials": len(unreplaced(summary.run.rows)),
            "code": manifest.code.model_dump(mode="json"),
            "rig": manifest.rig.model_dump(mode="json"),
        },
        "headline": {
            "verdict": page.headline.verdict,
            "word": page.headline.word,
            "sentence": page.headline.sentence,
            "about": page.about,
        },
        "tiles": [_tile(tile) for tile in page.tiles],
        "criteria": [
            {
                "name": criterion.name,
                "title": answer.title,
                "state": answer.state,
                "because": answer.because,
                "checks": [{"scenario": f.scenario, "cell": f.cell, "check": f.check} for f in answer.findings],
            }
            for criterion, answer in zip(CRITERIA, summary.answers, strict=True)
        ],
        "warnings": {
            "limiting": [text for one in (*page.notices.limiting, *others[:folded]) for text in one.warnings],
            "others": [text for one in others[folded:] for text in one.warnings],
        },
        "skipped": dict(page.notices.skipped),
        "scenarios": [_scenario(section, one) for section, one in zip(page.sections, summary.scenarios, strict=True)],
        "validity": blocks(page.validity),
        "environment": blocks(page.environment),
        "repeat": list(page.reproduction),
    }


def _tile(tile: Tile) -> Mapping[str, Any]:
    return {
        "label": tile.label,
        "value": tile.value,
        "note": tile.note,
        "state": tile.state,
        "scenario": tile.see,
        "cells": list(tile.cells),
    }


def _scenario(section: Section, summary: ScenarioSummary) -> Mapping[str, Any]:
    times = Counter(one.verdict for one in summary.findings)
    return {
        "name": section.name,
        "question": section.question,
        "answer": section.answer,
        "verdict": section.verdict,
        "settings": section.common,
        "counts": {verdict: times[verdict] for verdict in VERDICTS},
        "checks": [_finding(one, summary) for one in summary.findings],
        "cells": [_cell(cell) for cell in summary.cells],
        "picture": _picture(section.picture) if section.picture else None,
        "details": blocks(section.blocks),
    }


def _finding(one: Finding, summary: ScenarioSummary) -> Mapping[str, Any]:
    return {
        "check": one.check,
        "verdict": one.verdict,
        "cell": one.cell,
        "label": summary.labels.get(one.cell, ""),
        "detail": one.detail,
        "numbers": dict(one.numbers),
    }


def _cell(one: CellSummary) -> Mapping[str, Any]:
    cell = one.cell
    return {
        "name": cell.name,
        "label": one.label,
        "backend": cell.backend,
        "strategy": cell.strategy,
        "hosts": cell.hosts,
        "pool": cell.pool,
        "mode": cell.mode,
        "clients": cell.clients,
        "rate": cell.rate,
        "params": dict(cell.params),
        "trials": one.trials,
        "valid": one.valid,
        "invalid_because": list(one.reasons),
        "times_doubted": one.times_doubted,
        "sent": one.sent,
        "ok": one.ok,
        "fail": one.fail,
        "unknown": one.unknown,
        "lost": one.lost,
        "lost_is_lower_bound": bool(one.lost and one.trials > 1),
        "medians": dict(one.medians),
        "spans": {name: list(span) for name, span in one.spans.items()},
    }


def blocks(of: Iterable[Block]) -> list[Mapping[str, Any]]:
    """Returns blocks of the page, each with its `kind`; pictures without their drawing."""
    return [_block(one) for one in of]


def _block(one: Block) -> Mapping[str, Any]:
    if isinstance(one, Table):
        return {
            "kind": one.kind,
            "caption": one.caption,
            "head": list(one.head),
            "rows": [[_value(value) for value in row] for row in one.rows],
            "note": one.note,
        }
    if isinstance(one, Fold):
        return {"kind": one.kind, "title": one.title, "blocks": blocks(one.blocks)}
    if isinstance(one, Picture):
        return _picture(one)
    return {"kind": one.kind, "title": one.title, "paragraphs": list(one.paragraphs), "points": list(one.points)}


def _picture(one: Picture) -> Mapping[str, Any]:
    return {
        "kind": one.kind,
        "name": one.name,
        "title": one.title,
        "subtitle": one.subtitle,
        "caption": one.caption,
        "alt": one.alt,
    }


def _value(one: Value) -> Mapping[str, str]:
    return {"text": one.text, "note": one.note, "mark": one.mark}
