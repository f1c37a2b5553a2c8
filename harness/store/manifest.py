"""run.yml as a model: all of a run except its tables. Pure; run_writer.py writes it, run_reader.py reads it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.model import RunVerdict, Verdict

Status = Literal["started", "sampled", "finished", "aborted"]


class Stored(BaseModel):
    """A part of the manifest. Unknown keys are rejected, so that a typo or a newer file is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=False)


class HostRecord(Stored):
    """A host during the run: memory in bytes, `cpus` as the cap in force, `versions` of its software.

    `boot_id`: of its kernel; empty where it was not read.
    """

    name: str
    role: str
    cpus: float
    memory: int
    kernel: str
    cpu_model: str = ""
    boot_id: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


class RigRecord(Stored):
    """The rig during the run. `acceleration`: kvm or tcg for virtual machines, else empty."""

    name: str
    provider: str
    hosts: list[HostRecord] = Field(default_factory=list)
    acceleration: str = ""
    tls: bool = False
    code_hash: str = ""
    image: str = ""

    @property
    def by_url(self) -> bool:
        """Whether the run measured a service by its URL, not a rig."""
        return self.provider == "url"


class CodeRecord(Stored):
    """The code of the run: the controller's commit, whether files were changed, the command line and the seed."""

    commit: str
    dirty: bool
    command: str
    seed: int


OLD_NAMES = {
    "checkable": "checks completed",
    "comparable": "comparison completed",
    "control": "negative control",
    "deadlocks counted alike": "deadlock counts agree",
    "ids exist once": "returned ids exist once",
    "one victim a pair": "one victim per pair",
    "open at once": "concurrent requests",
    "pool is the bound": "throughput within the pool's limit",
    "pool is what it is called": "effective pool size",
    "prevents what it documents": "documented guarantees hold",
    "quick in time": "quick transactions in time",
    "quick in time, alone": "quick transactions in time, alone",
    "retry saves both": "retry commits both",
    "runs at the level asked": "requested isolation level",
    "same row waits": "waits for the held row",
    "survivors are applied": "committed updates applied",
}
"""Check names in runs stored before they were renamed -> the present names (harness/checks/names.py)."""


class FindingRecord(Stored):
    """A Finding as stored; a check's old name is read as its present one."""

    scenario: str
    cell: str
    check: str
    verdict: Verdict
    detail: str
    numbers: dict[str, Any] = Field(default_factory=dict)

    @field_validator("check")
    @classmethod
    def _present_name(cls, check: str) -> str:
        return OLD_NAMES.get(check, check)


class VariantRecord(Stored):
    """A variant that the run compares (harness/plan/variants.py); `settings`: key -> value."""

    name: str
    settings: dict[str, str] = Field(default_factory=dict)


class GateRecord(Stored):
    """How `bench --fail-if` decided: the limit as typed, its exit code (0: the variants pass), and why."""

    fail_if: str
    code: Literal[0, 1, 4]
    sentence: str


class Manifest(Stored):
    """run.yml. `settings` is nested by component; `skipped`: scenario, or a part of one -> reason. `variants`: those
    that are compared, the baseline first; empty in other runs.

    `noise_floor` maps `metric cell`, and `metric` for any other cell, to the ratio within which two identical
    measurements on this rig differ (compare/noise_floor.py); `canaries` are `before` and `after`: host -> cpu_ms,
    fsync_ms, rtt_ms. `gate`: of a run with --fail-if.
    """

    format: Literal[1] = 1
    run_id: str
    status: Status = "started"
    verdict: RunVerdict = "unknown"
    started: str
    finished: str = ""
    code: CodeRecord
    rig: RigRecord
    options: dict[str, Any] = Field(default_factory=dict)
    variants: list[VariantRecord] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    stages: dict[str, float] = Field(default_factory=dict)
    findings: list[FindingRecord] = Field(default_factory=list)
    gate: GateRecord | None = None
    skipped: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    noise_floor: dict[str, float] = Field(default_factory=dict)
    canaries: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
