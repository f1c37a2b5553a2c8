"""A trial with one fault that passes all checks, for the tests to change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from harness.checks.faults import check_faults
from harness.fault_record import FaultRecord, PlannedFault
from harness.model import Cell, Finding
from harness.record import Evidence
from tests.support.histories import Columns, history

S = 1_000_000
AT_S, HEAL_S, END_S = 4.0, 7.0, 16.0


def cell(fault: str, **params: Any) -> Cell:
    """An open cell of the scenario faults."""
    params = {"fault": fault, **params}
    return Cell(scenario="faults", hosts=4, mode="open", clients=256, rate=100.0, seconds=END_S, params=params)


def planned(fault: str) -> PlannedFault:
    """The fault of the trial."""
    return PlannedFault(fault=fault, at_s=AT_S, hold_s=HEAL_S - AT_S)


def record(fault: str, **values: Any) -> FaultRecord:
    """What became of it: seen, healed and observed in time."""
    made = FaultRecord(
        planned=planned(fault),
        hosts=("app-1",),
        injected_us=round(AT_S * S),
        healing_us=round(HEAL_S * S),
        healed_us=round((HEAL_S + 0.2) * S),
        seen="pid 812 became 944",
        healed="active",
        observed_us={
            "out-of-rotation": round((AT_S + 2) * S),
            "in-rotation": round((HEAL_S + 3) * S),
            "accepts": round((HEAL_S + 0.1) * S),
        },
    )
    return replace(made, **values)


@dataclass
class FaultTrial:
    """Samples and evidence that agree, each request with an id, on two keys."""

    samples: Columns
    ledger: dict[str, tuple[str, int]]
    final: dict[str, int]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def evidence(self) -> Evidence:
        """The evidence of the layers."""
        return Evidence(**{"final": self.final, "ledger": self.ledger, **self.more})

    def at(self, row: int) -> str:
        """The id of a row."""
        return self.samples.id[row]

    def set(self, row: int, **values: Any) -> None:
        """Changes columns of one row."""
        for name, value in values.items():
            getattr(self.samples, name)[row] = value


def trial(fault: str, *, out: tuple[float, float] | None = None, per_s: int = 100, **record_values: Any) -> FaultTrial:
    """Requests due every 1/per_s s and answered 1 ms later; those due within `out` are answered at its end."""
    rows, keys, counts = [], [], Counter[str]()
    for number in range(round(END_S * per_s)):
        due = number * S // per_s
        held = out is not None and out[0] * S <= due < out[1] * S
        done = (round(out[1] * S) if held and out else due) + 1000
        key = f"fault3-{number % 2}"
        counts[key] += 1
        keys.append(key)
        rows.append((due, done, "ok", counts[key]))
    samples = history(*rows)
    samples.key = keys
    samples.id = [f"run-3-main-load-1-{seq}" for seq in samples.seq]
    ledger = {
        ident: (key, value or 0) for ident, key, value in zip(samples.id, samples.key, samples.value, strict=True)
    }
    return FaultTrial(samples, ledger, dict(counts), {"faults": (record(fault, **record_values),)})


def findings(doctored: FaultTrial, fault: str = "app-kill", **wanted: Any) -> dict[str, Finding]:
    wanted = {"timeout_s": 30.0, **wanted}
    found = check_faults(cell(fault), doctored.samples, doctored.evidence, [planned(fault)], **wanted)  # type: ignore[arg-type]
    return {each.check: each for each in found}


def verdicts(doctored: FaultTrial, fault: str = "app-kill", **wanted: Any) -> dict[str, str]:
    return {name: each.verdict for name, each in findings(doctored, fault, **wanted).items()}
