"""Compares the speed of the service's strategies with each other and with pgbench: `./run selfbench app`.

It uses a temporary PostgreSQL with the durability of its defaults (fsync, synchronous_commit), one service process with
a full pool, 64 clients in a closed loop, and pgbench with the same upsert and as many connections as the pool. All
share this machine. The strategies take turns in each round, ratios are formed within a round, and the median over the
rounds is reported, because a busy machine slows a whole round alike. The value is the ratio on the hot key, a single
row that all clients write; the detail has the rates, the spread, the ratio on 1,000 keys and the service's CPU time
per request. At the end the counters must hold exactly the acknowledged increments, or it fails (InvalidMeasurement).

The targets of 2 and 5 refer to the original's Node service, which is not part of this repository; `for-update` does
the same at the same speed (1.0x on the hot key, 0.8x on 1,000 keys, measured side by side).
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
from harness.selfbench import local_stack
from harness.text import strict_json

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
"""Name -> numerator, denominator and target."""

Entry = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One strategy, or pgbench, in one round; `doubts`: why the generator may have been the limit."""

    rps: float
    cpu_us: float = math.nan
    doubts: Sequence[str] = ()


Turns = Mapping[tuple[str, str], Sequence[Turn]]
"""(strategy or `pgbench`, kind of keys) -> one turn per round."""


def main(json_path: Path | None = None) -> None:
    """Measures, prints one line per figure, and writes `{name: {value, unit, target, detail}}` to `json_path`."""
    programs = local_stack.programs(local_stack.SERVERS)
    missing = local_stack.missing(programs)
    turns: Turns = {}
    if programs and "server" not in missing:
        turns = _measure(programs, with_pgbench="pgbench" not in missing)
    entries = {name: entry(name, turns, missing) for name in RATIOS}
    for name, figure in entries.items():
        value = "not measured" if figure["value"] is None else f"{figure['value']:.2f} {figure['unit']}"
        print(f"{name:32} {value:>12}   target {figure['target']:6} {figure['detail']}")
    if json_path:
        json_path.write_text(strict_json(entries, indent=1) + "\n", encoding="utf-8")


def entry(name: str, turns: Turns, missing: Mapping[str, str]) -> Entry:
    """One figure: the median over the rounds not limited by the generator, which must be the majority."""
    numerator, denominator, target = RATIOS[name]
    values, details = [], []
    reason = missing.get("server") or missing.get(denominator, "")
    for keys in () if reason else KEYS:
        pairs = list(zip(turns[numerator, keys], turns[denominator, keys], strict=True))
        valid = [(one, other) for one, other in pairs if not one.doubts and not other.doubts]
        if 2 * len(valid) <= len(pairs):
            reason = reason or next(doubt for pair in pairs for turn in pair for doubt in turn.doubts)
            continue
        ratios = [one.rps / other.rps for one, other in valid]
        values.append(statistics.median(ratios))
        details.append(
            f"{keys} {values[-1]:.2f}x, {len(valid)} of {len(pairs)} rounds {min(ratios):.2f} to {max(ratios):.2f} "
            f"({statistics.median(one.rps for one, _ in valid):,.0f} against "
            f"{statistics.median(other.rps for _, other in valid):,.0f}/s, "
            f"{statistics.median(one.cpu_us for one, _ in valid):,.0f} us CPU of the service per request)"
        )
    if reason:
        return {"value": None, "unit": "x", "target": target, "detail": f"not measured: {reason}"}
    return {"value": round(values[0], 3), "unit": "x", "target": target, "detail": "; ".join(details)}


def _measure(programs: Path, *, with_pgbench: bool) -> Turns:
    """Runs all rounds. Raises InvalidMeasurement if a request failed or the counters are wrong."""
    turns: dict[tuple[str, str], list[Turn]] = {}
    acknowledged = 0
    with (
        tempfile.TemporaryDirectory(prefix="pgcrucible-selfbench-") as name,
        local_stack.server(programs, Path(name)) as server,
        local_stack.service(server, Path(name), pool=POOL) as (port, pid),
        server.connect() as admin,
    ):
        for strategy in STRATEGIES:
            acknowledged += _drive(port, strategy, 1, SECONDS / 4, Path(name)).measure.ok  # warm-up
        order = [(contender, keys) for keys in KEYS for contender in (*STRATEGIES, *["pgbench"] * with_pgbench)]
        for number in range(ROUNDS):
            admin.execute("CHECKPOINT")
            admin.execute("VACUUM counters")
            for contender, keys in order[number:] + order[:number]:
                if contender == "pgbench":
                    turn = Turn(rps=_pgbench(server, KEYS[keys], Path(name)))
                else:
                    cpu = local_stack.cpu_seconds(pid)
                    summary = _drive(port, contender, KEYS[keys], SECONDS, Path(name))
                    ok = summary.measure.ok
                    cpu_us = (local_stack.cpu_seconds(pid) - cpu) / ok * 1e6
                    turn = Turn(rps=summary.rps or 0.0, cpu_us=cpu_us, doubts=generator_checks.reasons(summary))
                    acknowledged += ok
                turns.setdefault((contender, keys), []).append(turn)
        check_counters(acknowledged, admin)
    return turns


def check_counters(acknowledged: int, admin: psycopg.Connection[Any]) -> None:
    """Raises InvalidMeasurement unless the counters hold exactly the acknowledged increments."""
    row = admin.execute("SELECT coalesce(sum(value), 0) FROM counters WHERE key LIKE 'app-%'").fetchone()
    assert row
    if row[0] != acknowledged:
        raise InvalidMeasurement(f"{acknowledged:,} increments were acknowledged, the counters hold {row[0]:,}")


def _drive(port: int, strategy: str, keys: int, seconds: float, folder: Path) -> LaneSummary:
    """Runs a load agent against the service; raises InvalidMeasurement unless all requests succeeded."""
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
        raise RigError(
            f"the load agent returned no result: {event.get('message', 'it exited without an error message')}"
        )
    shutil.rmtree(out)
    summary = LaneSummary.from_json(event["summary"])
    counts = summary.measure
    if counts.fail or counts.unknown or not counts.ok:
        raise InvalidMeasurement(f"{strategy}: not all requests succeeded: {counts}")
    return summary


def _pgbench(server: local_stack.Server, keys: int, folder: Path) -> float:
    """Transactions per second of the same statement, prepared, without HTTP."""
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
