"""Accounts for every request of a trial with faults, id by id and key by key. Pure.

An id is acknowledged if one of its requests was, surely not applied if all of them failed, else unknown. It is applied
if the ledger has it. The service writes the ledger's row and the counter in one transaction, so per key the counter has
to grow by the ledger's rows.

A load host that was killed leaves no samples. Its ids are known all the same, because they follow from run, trial, load
host and sequence number: a row of the ledger with its prefix was perhaps sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace

from harness.record import Evidence, Samples

MOST_IDS = 20
"""Ids kept of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultAccount:
    """The requests of a trial by outcome, compared with the ledger and the counters.

    `lost`: acknowledged, and neither ledger nor counter has them all. `doubled`: the counter grew by more than the
    ledger has rows, or without ids by more than was sent. `invented`: applied though no request had the id.
    `false_aborted`: reported as surely not applied, but applied. `other_value`: acknowledged with another value than
    the ledger has. `perhaps_sent`: applied, of load hosts without samples. `foreign`: rows of an earlier trial that
    were applied after it, which are not counted here.
    """

    acknowledged: int = 0
    aborted: int = 0
    unknown_applied: int = 0
    unknown_not_applied: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    false_aborted: int = 0
    other_value: int = 0
    perhaps_sent: int = 0
    foreign: int = 0
    first: Mapping[str, str] = field(default_factory=dict)
    """Kind of error -> a sentence about the first of its kind."""
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Kind of error -> the first ids."""

    @property
    def unknown(self) -> int:
        """Ids whose requests left it open whether they were applied."""
        return self.unknown_applied + self.unknown_not_applied

    @property
    def phantom(self) -> int:
        """Applied though no request was sent with the id, or though it surely failed."""
        return self.invented + self.false_aborted


def own_evidence(samples: Samples, evidence: Evidence) -> tuple[Evidence, int]:
    """The evidence without what an earlier trial left, and the number of its rows and counters that were left out.

    A request whose client gave up may be applied after its trial. The keys of each trial have another prefix.
    """
    if not len(samples):
        return evidence, 0
    prefix = samples.key[0].rpartition("-")[0] + "-"
    final = {key: value for key, value in evidence.final.items() if key.startswith(prefix)}
    initial = {key: value for key, value in evidence.initial.items() if key.startswith(prefix)}
    ledger = evidence.ledger
    if ledger is not None:
        ledger = {ident: row for ident, row in ledger.items() if row[0].startswith(prefix)}
    foreign = len(evidence.ledger or ()) - len(ledger or ())
    if evidence.ledger is None:
        foreign = len(evidence.final) - len(final)
    return replace(evidence, initial=initial, final=final, ledger=ledger), foreign


@dataclass(slots=True)
class _Key:
    acknowledged: int = 0
    unknown: int = 0
    rows: int = 0
    missing: int = 0


class _Errors:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.ids: dict[str, list[str]] = {}

    def add(self, kind: str, sentence: str, ident: str = "", count: int = 1) -> None:
        self.counts[kind] += count
        self.first.setdefault(kind, sentence)
        known = self.ids.setdefault(kind, [])
        if ident and len(known) < MOST_IDS:
            known.append(ident)


def account(samples: Samples, evidence: Evidence, *, dead: Collection[str] = (), op: str = "increment") -> FaultAccount:
    """The account of a trial's requests `op`. `dead`: load hosts without samples.

    Without ids, or without a ledger, only the counters are compared.
    """
    evidence, foreign = own_evidence(samples, evidence)
    errors, keys = _Errors(), dict[str, _Key]()
    rows_of: dict[str, list[int]] = {}
    for row, (name, ident) in enumerate(zip(samples.op, samples.id, strict=True)):
        if name == op:
            rows_of.setdefault(ident or f"#{row}", []).append(row)
    ledger = evidence.ledger if any(samples.id) else None
    outcomes: Counter[str] = Counter()
    for ident, rows in rows_of.items():
        outcome = _joined(samples, rows)
        entry = ledger.get(ident) if ledger is not None else None
        outcomes[outcome + ("" if entry is None else " applied")] += 1
        key = keys.setdefault(samples.key[rows[0]], _Key())
        key.acknowledged += outcome == "ok"
        key.unknown += outcome == "unknown"
        if ledger is not None:
            key.missing += outcome == "ok" and entry is None
            _compare(errors, samples, rows, outcome, entry)
    perhaps_sent = 0
    for ident, (name, _) in (ledger or {}).items():
        keys.setdefault(name, _Key()).rows += 1
        if ident in rows_of:
            continue
        if ident.rpartition("-")[0].endswith(tuple(f"-{host}" for host in dead)):
            perhaps_sent += 1
        else:
            errors.add("invented", f"the ledger has {ident} on '{name}', which no request sent", ident)
    for name in dict.fromkeys([*keys, *evidence.final]):
        grown = evidence.final.get(name, 0) - evidence.initial.get(name, 0)
        balance = _Balance(name, keys.get(name), grown, with_ledger=ledger is not None, open_ended=bool(dead))
        balance.compare(errors, samples)
    counts = errors.counts
    return FaultAccount(
        acknowledged=outcomes["ok"] + outcomes["ok applied"],
        aborted=outcomes["fail"] + outcomes["fail applied"],
        unknown_applied=outcomes["unknown applied"],
        unknown_not_applied=outcomes["unknown"],
        lost=counts["lost"],
        doubled=counts["doubled"],
        invented=counts["invented"],
        false_aborted=counts["false_aborted"],
        other_value=counts["other_value"],
        perhaps_sent=perhaps_sent,
        foreign=foreign,
        first=errors.first,
        ids={kind: tuple(ids) for kind, ids in errors.ids.items() if ids},
    )


def _joined(samples: Samples, rows: list[int]) -> str:
    """The outcome of all requests with one id together."""
    return min((samples.outcome[row] for row in rows), key=("ok", "unknown", "fail").index)


def _compare(errors: _Errors, samples: Samples, rows: list[int], outcome: str, entry: tuple[str, int] | None) -> None:
    """Adds what is wrong between one id's requests and its row of the ledger."""
    ident, key = samples.id[rows[0]], samples.key[rows[0]]
    if outcome == "ok" and entry is None:
        errors.add("lost", f"{ident} on '{key}' was acknowledged, but the ledger does not have it", ident)
    elif outcome == "fail" and entry is not None:
        refusal = samples.error[rows[0]] or f"HTTP {samples.status[rows[0]]}"
        text = f"{ident} on '{key}' was refused ({refusal}) as surely not applied, but the ledger has it"
        errors.add("false_aborted", text, ident)
    elif entry is not None:
        answers = [samples.value[row] for row in rows if samples.outcome[row] == "ok"]
        wrong = [value for value in answers if (key, value) != entry]
        if wrong:
            text = f"{ident} returned {wrong[0]} on '{key}', but the ledger has {entry[1]} on '{entry[0]}'"
            errors.add("other_value", text, ident)


@dataclass(frozen=True, slots=True)
class _Balance:
    """The growth of a counter beside the requests of its key (None: no request named it).

    `open_ended`: requests may have been sent that are not known.
    """

    name: str
    key: _Key | None
    grown: int
    _: KW_ONLY
    with_ledger: bool
    open_ended: bool

    def compare(self, errors: _Errors, samples: Samples) -> None:
        """Adds what is wrong."""
        name, key, grown = self.name, self.key, self.grown
        if key is None:
            if grown and (self.with_ledger or not self.open_ended):
                errors.add("invented", f"'{name}' changed by {grown:,} though no request named it", count=abs(grown))
            return
        applied = max(key.acknowledged, key.rows)
        if applied - grown > key.missing:
            text = f"'{name}' grew by {grown:,} for {applied:,} applied requests{_same_value(samples, name)}"
            errors.add("lost", text, count=applied - grown - key.missing)
        most = key.rows + key.missing if self.with_ledger else key.acknowledged + key.unknown
        if grown > most and (self.with_ledger or not self.open_ended):
            known = f"the ledger has {key.rows:,} rows" if self.with_ledger else f"at most {most:,} requests applied"
            errors.add("doubled", f"'{name}' grew by {grown:,}, but {known} for it", count=grown - most)


def _same_value(samples: Samples, key: str) -> str:
    """The first two acknowledged requests of a key that returned the same value: the proof of a lost update."""
    first: dict[int, int] = {}
    for row, (name, value, outcome) in enumerate(zip(samples.key, samples.value, samples.outcome, strict=True)):
        if name != key or value is None or outcome != "ok":
            continue
        if value in first and samples.id[first[value]] != samples.id[row]:
            one, other = (samples.id[each] or f"request {samples.seq[each]}" for each in (first[value], row))
            return f"; {one} and {other} both returned {value:,}"
        first.setdefault(value, row)
    return ""
