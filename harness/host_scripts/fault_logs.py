"""Prints what units and PostgreSQL logged since an instant, one JSON line each: [µs since 1970, unit, text].

The argument is JSON: {"units": patterns, "postgres": whether to read the server's log file, "since_s": in seconds since
1970 by the host's clock, "most": lines}. Where there are too many lines, errors are kept first, then the earliest.
"""

from __future__ import annotations

import calendar
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

Line = tuple[int, str, str]
MOST_TEXT = 2000
ERROR = re.compile(r"\b(ERROR|FATAL|PANIC|CRITICAL|Traceback|DOWN|error|failed|killed|No space left)\b")
STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.(\d{3}) (\S+) ")
"""`%m` of log_line_prefix: time with milliseconds, and the abbreviation of the zone."""
TAIL = 64 << 20
"""At most so much of the end of a log file is read."""


def journal(units: list[str], since_s: float) -> Iterator[Line]:
    command = [
        "journalctl",
        "--no-pager",
        "--quiet",
        "--output=json",
        f"--since=@{since_s:.6f}",
    ]
    command += [f"--unit={unit}" for unit in units]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30).stdout
    for raw in text.splitlines():
        entry = json.loads(raw)
        message = entry.get("MESSAGE", "")
        if isinstance(message, list):  # bytes that are not UTF-8
            message = bytes(message).decode("utf-8", "replace")
        unit = entry.get("_SYSTEMD_UNIT") or entry.get("UNIT") or entry.get("SYSLOG_IDENTIFIER", "")
        if unit == "init.scope":  # what systemd itself says of a unit
            unit = entry.get("UNIT", unit)
        yield int(entry["__REALTIME_TIMESTAMP"]), str(unit), str(message)


def postgres(folder: Path, since_us: int) -> Iterator[Line]:
    for path in sorted(folder.glob("postgresql-*-main.log")):
        with path.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - TAIL))
            at_us = 0
            for raw in log:
                text = raw.decode("utf-8", "replace").rstrip("\n")
                if stamp := STAMP.match(text):
                    at_us = instant_us(*stamp.groups())
                    text = text[stamp.end() :]
                if at_us >= since_us:
                    yield at_us, "postgresql", text


def instant_us(moment: str, milliseconds: str, zone: str) -> int:
    """The instant of a time stamp in UTC or in the host's own zone."""
    parsed = time.strptime(moment, "%Y-%m-%d %H:%M:%S")
    seconds = calendar.timegm(parsed) if zone in ("UTC", "GMT") else int(time.mktime(parsed))
    return seconds * 1_000_000 + int(milliseconds) * 1000


def chosen(lines: list[Line], most: int) -> list[Line]:
    """At most `most` lines in their order: errors first, then the earliest of the others."""
    if len(lines) <= most:
        return lines
    ranked = sorted(lines, key=lambda line: (ERROR.search(line[2]) is None, line[0]))
    return sorted(ranked[:most])


def main() -> None:
    job = json.loads(sys.argv[1])
    lines = list(journal(job["units"], job["since_s"])) if job["units"] else []
    if job["postgres"]:
        lines += postgres(Path("/var/log/postgresql"), round(job["since_s"] * 1e6))
    for at_us, unit, text in chosen(sorted(lines), job["most"]):
        print(json.dumps([at_us, unit, text[:MOST_TEXT]]))


if __name__ == "__main__":
    main()
