"""The five success criteria of the original page, and which findings answer each. Pure.

`./run check` has a test for each, and the report's first table is made of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.checks import worst
from harness.model import Finding, Verdict

ANY = "*"
"""Any scenario, or any check of one."""

ORACLE = ("final value", "value sequence", "real-time order", "ledger")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A success criterion: `original` is the page's own wording, `rests_on` scenario -> names of checks."""

    name: str
    title: str
    original: str
    rests_on: Mapping[str, Sequence[str]]

    def findings(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings it rests on, of those given."""
        return [f for f in findings if self._wants(f, f.scenario) or self._wants(f, ANY)]

    def _wants(self, finding: Finding, scenario: str) -> bool:
        checks = self.rests_on.get(scenario, ())
        return finding.check in checks or ANY in checks

    def answer(self, findings: Iterable[Finding]) -> Verdict | Literal["not measured"]:
        """The worst of its findings; `not measured` where the run has none."""
        found = self.findings(findings)
        return worst(f.verdict for f in found) if found else "not measured"


CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        name="concurrent-writes",
        title="1,000 concurrent writes succeed to 100 %",
        original="1000同時書き込みで100%成功",
        rests_on={"concurrent-writes": ("acknowledged",)},
    ),
    Criterion(
        name="no-lost-update",
        title="The lost-update problem is solved",
        original="Lost Update問題の完全解決",
        rests_on={ANY: ORACLE},
    ),
    Criterion(
        name="deadlocks",
        title="Deadlocks are detected and resolved automatically",
        original="デッドロックの自動検出と解決",
        rests_on={"deadlocks": (ANY,)},
    ),
    Criterion(
        name="scaling",
        title="Horizontal scaling is achieved",
        original="水平スケーリングの実現",
        rests_on={"scaling": (ANY,)},
    ),
    Criterion(
        name="reliability",
        title="Reliability of a production environment",
        original="本番環境レベルの信頼性",
        rests_on={
            "long-transactions": (ANY,),
            "connections": (ANY,),
            "pool-sweep": (ANY,),
            "isolation": (ANY,),
            "bulk-insert": (ANY,),
            ANY: ("counts agree", "spread"),
        },
    ),
)
