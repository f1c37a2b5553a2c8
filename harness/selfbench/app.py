"""How fast the service is, beside itself and beside pgbench, in one session: `./run selfbench app`.

A throw-away PostgreSQL as durable as its defaults (fsync, synchronous_commit), one service process with a full pool,
64 clients in a closed loop, and pgbench with the same upsert and as many connections as the pool. Everything shares
this machine. The rounds take turns, ratios are made within a round, and the median of the rounds counts: a busy
machine slows all of a round alike. Values are those on the hot key, one row that everyone writes; the detail has the
rates, the spread, the ratio on 1,000 keys and the service's CPU time a request. Afterwards the counters must hold
exactly what was acknowledged: fast and wrong is a failure (InvalidMeasurement).

The targets of 2 and 5 are meant against the original's Node service, which is not here; `for-update` does what it
does, at its speed (1.0x on the hot key, 0.8x on 1,000 keys, measured side by side).
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from harness.errors import InvalidMeasurement, RigError
from harness.load import generator_checks
from harness.load.job import Endpoint, Job
from harness.load.results.summary import LaneSummary
from harness.load.spec import Keys, LoadSpec, Operation
from harness.selfbench import local_stack as tier

ROUNDS = 3
SECONDS = 2.0
CLIENTS = 64
POOL = 20
STRATEGIES = ("for-update", "upsert", "coalesce")
KEYS = {"hot": 1, "1,000 keys": 1000}
_ROOT = Path(__file__).parents[2]
_SCRIPT = """\\set k random(0, {last})
INSERT INTO counters AS c (key, value) VALUES ('pgbench-' || :k::text, 1)
ON CONFLICT (key) DO UPDATE SET value = c.value + 1, last_modified = now() RETURNING value;
"""
RATIOS = {
    "app.upsert_vs_for_update": ("upsert", "for-update", ">= 2"),
    "app.coalesce_vs_for_update": ("coalesce", "for-update", ">= 5"),
    "app.coalesce_hot_vs_pgbench_hot": ("coalesce", "pgbench", ">= 2"),
    "app.upsert_vs_pgbench": ("upsert", "pgbench", "none"),
}
"""Name -> what is divided by what, and the target."""

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one strategy, or pgbench, did in one round; `doubts` say why the generator may have been the limit."""

    rps: float
    cpu_us: float = math.nan
    doubts: Sequence[str] = ()


Turns = Mapping[tuple[str, str], Sequence[Turn]]
"""(strategy or `pgbench`, kind of keys) -> its turn in each round."""


def main(json_path: Path | None = None) -> None:
    """Measure, print a line a figure, and write `{name: {value, unit, target, detail}}` to `json_path`."""
    programs = tier.programs(tier.SERVERS)
    missing = tier.why_not(programs)
    turns: Turns = {}
    if programs and "server" not in missing:
        turns = _measure(programs, with_pgbench="pgbench" not in missing)
    entries = {name: entry(name, turns, missing) for name in RATIOS}
    for name, found in entries.items():
        value = "not measured" if found["value"] is None else f"{found['value']:.2f} {found['unit']}"
        print(f"{name:32} {value:>12}   target {found['target']:6} {found['detail']}")
    if json_path:
        json_path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def entry(name: str, turns: Turns, missing: Mapping[str, str]) -> Entry:
    """One figure: the median over the rounds in which the generator was not the limit, which most must be."""
    one, other, target = RATIOS[name]
    values, details = [], []
    reason = missing.get("server") or missing.get(other, "")
    for keys in () if reason else KEYS:
        pairs = list(zip(turns[one, keys], turns[other, keys], strict=True))
        sound = [(ours, theirs) for ours, theirs in pairs if not ours.doubts and not theirs.doubts]
        if 2 * len(sound) <= len(pairs):
            reason = reason or next(doubt for pair in pairs for turn in pair for doubt in turn.doubts)
            continue
        ratios = [ours.rps / theirs.rps for ours, theirs in sound]
        values.append(statistics.median(ratios))
        details.append(
            f"{keys} {values[-1]:.2f}x, {len(sound)} of {len(pairs)} rounds {min(ratios):.2f} to {max(ratios):.2f} "
            f"({statistics.median(ours.rps for ours, _ in sound):,.0f} against "
            f"{statistics.median(theirs.rps for _, theirs in sound):,.0f}/s, "
            f"{statistics.median(ours.cpu_us for ours, _ in sound):,.0f} us CPU of the service a request)"
        )
    if reason:
        return {"value": None, "unit": "x", "target": target, "detail": f"not measured, because {reason}"}
    return {"value": round(values[0], 3), "unit": "x", "target": target, "detail": "; ".join(details)}


def _measure(programs: Path, *, with_pgbench: bool) -> Turns:
    """All turns of all rounds. Raises InvalidMeasurement where a request failed or the counters are wrong."""
    turns: dict[tuple[str, str], list[Turn]] = {}
    acknowledged = 0
    with (
        tempfile.TemporaryDirectory(prefix="pgcrucible-selfbench-") as name,
        tier.server(programs, Path(name)) as server,
        tier.service(server, Path(name), pool=POOL) as (port, pid),
        server.connect() as admin,
    ):
        for strategy in STRATEGIES:
            acknowledged += _drive(port, strategy, 1, SECONDS / 4, Path(name)).measure.ok  # warm
        order = [(who, keys) for keys in KEYS for who in (*STRATEGIES, *["pgbench"] * with_pgbench)]
        for number in range(ROUNDS):
            admin.execute("CHECKPOINT")
            admin.execute("VACUUM counters")
            for who, keys in order[number:] + order[:number]:
                if who == "pgbench":
                    turn = Turn(rps=_pgbench(server, KEYS[keys], Path(name)))
                else:
                    cpu = tier.cpu_seconds(pid)
                    summary = _drive(port, who, KEYS[keys], SECONDS, Path(name))
                    ok = summary.measure.ok
                    cpu_us = (tier.cpu_seconds(pid) - cpu) / ok * 1e6
                    turn = Turn(rps=summary.rps or 0.0, cpu_us=cpu_us, doubts=generator_checks.reasons(summary))
                    acknowledged += ok
                turns.setdefault((who, keys), []).append(turn)
        judge(acknowledged, admin)
    return turns


def judge(acknowledged: int, admin: psycopg.Connection[Any]) -> None:
    """Every acknowledged increment is there, once."""
    row = admin.execute("SELECT coalesce(sum(value), 0) FROM counters WHERE key LIKE 'app-%'").fetchone()
    assert row
    if row[0] != acknowledged:
        raise InvalidMeasurement(f"{acknowledged:,} increments were acknowledged, the counters hold {row[0]:,}")


def _drive(port: int, strategy: str, keys: int, seconds: float, folder: Path) -> LaneSummary:
    """The summary of a load agent's job against the service, all of it acknowledged."""
    out = folder / "out"
    body = {"key": "{key}", "strategy": strategy}
    spec = LoadSpec(
        mode="closed",
        clients=CLIENTS,
        seconds=seconds,
        keys=Keys(kind="uniform", prefix="app", count=keys),
        operations=(Operation(name="increment", path="/api/increment", body=body, value="value"),),
        samples=False,
    )
    endpoint = Endpoint(host="127.0.0.1", port=port)
    job = Job.of(spec, target=endpoint, load_host="selfbench", run_tag="selfbench", out=str(out))
    command = [sys.executable, "-m", "harness.load.agent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(job.to_dict()) + "\ngo\n")
        process.stdin.flush()
        lines = process.stdout.readlines()
    event = json.loads(lines[-1]) if lines else {}
    if event.get("event") != "done":
        raise RigError(f"the load agent brought no result: {event.get('message', 'it ended without a word')}")
    shutil.rmtree(out)
    summary = LaneSummary.from_json(event["summary"])
    counts = summary.measure
    if counts.fail or counts.unknown or not counts.ok:
        raise InvalidMeasurement(f"{strategy}: not all requests succeeded: {counts}")
    return summary


def _pgbench(server: tier.Server, keys: int, folder: Path) -> float:
    """Transactions a second of the same statement, prepared, without HTTP."""
    script = folder / "upsert.sql"
    script.write_text(_SCRIPT.format(last=keys - 1), encoding="ascii")
    command = [
        str(server.bin / "pgbench"), "--no-vacuum", "--protocol=prepared", "--jobs=1", f"--client={POOL}",
        f"--time={max(1, round(SECONDS))}", f"--file={script}", "--host=127.0.0.1", f"--port={server.port}",
        "--username=appuser", "postgres",
    ]  # fmt: skip
    environ = {"PATH": os.environ.get("PATH", ""), "PGPASSWORD": server.password}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=SECONDS + 60, check=False)
    match = re.search(r"^tps = ([\d.]+) ", done.stdout, re.MULTILINE)
    if done.returncode or not match:
        raise RigError("pgbench failed", output=done.stderr[-2000:])
    return float(match[1])
