"""Ansible stdout callback: prints one JSON event per line, for harness/provision/ansible.py.

Only the keys of a result that the harness reads are printed. Ansible hides a result with `no_log: true` before it
calls a callback: such a result has no message, only the sentence in `censored`.
"""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: json_lines
type: stdout
short_description: Prints one JSON event per line
description:
  - Prints one JSON object per line for each start of a play or task, each result of a task on a host, and the totals.
"""

TEXTS = ("msg", "stderr", "module_stderr", "censored")
FLAGS = ("changed", "failed")


def shown(result: Any) -> dict[str, Any]:
    """The part of a result that is printed, with the same part of each item of a loop."""
    if not isinstance(result, dict):
        return {}
    texts = {key: str(result[key]) for key in TEXTS if result.get(key)}
    flags = {key: bool(result[key]) for key in FLAGS if key in result}
    lists: dict[str, list[Any]] = {}
    if isinstance(removed := result.get("removed"), list):
        lists["removed"] = [str(name) for name in removed]
    if isinstance(items := result.get("results"), list):
        lists["results"] = [shown(item) for item in items]
    return texts | flags | lists


class CallbackModule(CallbackBase):
    """Ansible finds the plugin by this name."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "json_lines"

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._print("v2_playbook_on_play_start", play={"name": play.get_name(), "path": play.get_path()})

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        self._print("v2_playbook_on_task_start", task=_task(task))

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._print("v2_playbook_on_handler_task_start", task=_task(task))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._print_result("v2_runner_on_ok", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._print_result("v2_runner_on_skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._print_result("v2_runner_on_unreachable", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._print_result("v2_runner_on_failed", result, ignore_errors=ignore_errors)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._print("v2_playbook_on_stats", stats={host: stats.summarize(host) for host in sorted(stats.processed)})

    def _print_result(self, event: str, result: Any, **more: Any) -> None:
        self._print(event, task=_task(result.task), hosts={result.host.get_name(): shown(result.result) | more})

    def _print(self, event: str, **fields: Any) -> None:
        self._display.display(json.dumps({"_event": event, **fields}))


def _task(task: Any) -> dict[str, str]:
    return {"id": str(task._uuid), "name": task.get_name(), "path": task.get_path() or ""}  # noqa: SLF001 -- Ansible's callbacks read it too
