"""The documents of the repository, and the commands in them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import tasks

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
METHOD = (ROOT / "docs/method.md").read_text(encoding="utf-8")
SCENARIOS_PAGE = (ROOT / "docs/scenarios.md").read_text(encoding="utf-8")
FAULTS_PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
OPENAPI = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text(encoding="utf-8"))


TASKS = sorted(tasks.namespace.task_names)
CODE_BLOCK = re.compile(r"^    (\./run [^#\n]+)", re.MULTILINE)
INLINE = re.compile(r"`(\./run [^`]+)`")
PAGES = (
    "README.md", "README.ja.md", "AGENTS.md", "CONTRIBUTING.md", "docs/own-machines.md", "docs/architecture.md",
    "docs/commands.md", "docs/faults.md", "docs/method.md", "docs/rig.md", "docs/scenarios.md", "docs/results.md",
    "docs/troubleshooting.md", "docs/observability/README.md",
)  # fmt: skip
TEXT = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
WRITTEN = (*CODE_BLOCK.findall(TEXT), *INLINE.findall(TEXT))
COMMANDS = sorted({re.sub(r" [|>] .*", "", command).strip() for command in WRITTEN if "TASK" not in command})
"""Every command of these pages: from code blocks without their comments, and from running text."""


SAFETY = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
