"""Structured logs: one JSON object per line on stderr, for each start, stop and error; none per successful request.

An exception is logged with its type and location, without its message, which may contain a DSN. Errors with the same
code share one line per second, with their number.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter

LOG = logging.getLogger("app")


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "event", "container", …}`; `extra={"facts": {…}}` adds fields."""

    def __init__(self, container: str) -> None:
        super().__init__()
        self._container = container

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "container": self._container,
            **getattr(record, "facts", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            trace = record.exc_info[2]
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            if trace is not None:
                line["where"] = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return json.dumps(line, default=str)


def configure(container: str, level: str) -> None:
    """Sends all logging of the process, libraries included, through the formatter."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(container))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class ErrorLog:
    """Logs at most one line per second and code; the next line has the number of suppressed ones."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._suppressed: Counter[str] = Counter()

    def error(self, op: str, code: str, outcome: str, message: str) -> None:
        """Logs a failed request, or counts it."""
        now = time.monotonic()
        if now - self._last.get(code, -1.0) < 1.0:
            self._suppressed[code] += 1
            return
        self._last[code] = now
        facts = {
            "op": op,
            "code": code,
            "outcome": outcome,
            "message": message,
            "not_logged": self._suppressed.pop(code, 0),
        }
        LOG.warning("request failed", extra={"facts": facts})
