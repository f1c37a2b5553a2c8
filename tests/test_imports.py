"""The shape of the code, held by a test: who may import whom (the design's import rules)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
IO = {
    "aiohttp", "asyncio", "fabric", "hdrh", "http", "httptools", "paramiko", "psycopg", "select", "selectors",
    "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uvloop",
}  # fmt: skip
PURE = {
    "harness/model.py", "harness/errors.py", "harness/config.py", "harness/plan.py", "harness/stats.py",
    "harness/usl.py", "harness/checks.py", "harness/oracle.py", "harness/metrics.py", "harness/judge.py",
    "harness/attribution.py", "harness/heard.py", "harness/load/job.py", "harness/load/schedule.py",
    "harness/load/steady.py",
    "harness/load/conduct.py", "harness/load/innocence.py", "harness/report/compare.py",
    "harness/report/compare_table.py", "harness/report/floor.py", "harness/report/gate.py",
    "harness/report/environment.py",
    "harness/report/charts.py",
    "harness/isolation/case.py", "harness/isolation/cases.py", "harness/isolation/judge.py",
    "harness/isolation/pairs.py", "harness/isolation/matrix.py", "harness/isolation/findings.py",
    *(f"harness/scenarios/{path.name}" for path in (ROOT / "harness/scenarios").glob("*.py")),
}  # fmt: skip
HOMES = {
    "fabric": {"harness/remote.py"},
    "vl_convert": {"harness/report/charts.py"},
    "hdrh": {"harness/load/hist.py"},
}
ON_HOSTS = ("harness/load/", "harness/isolation/")
HOST_PACKAGES = {"aiohttp", "hdrh", "httptools", "psycopg", "uvloop", "harness", "app"}
CONTROLLER_ONLY = {"pydantic", "yaml", "rich", "fabric", "invoke", "jinja2", "ansible", "vl_convert", "pytest"}


def modules() -> list[Path]:
    return [path for folder in ("app", "harness") for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Full names of what a module imports, but for what only a type checker sees."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module}
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_what_it_may(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    mine, other = ("app", "harness") if name.startswith("app/") else ("harness", "app")
    assert other not in tops(path), f"{mine} and {other} meet over HTTP alone"
    if name in PURE:
        assert not tops(path) & IO, "a pure module touches the world"
    for package, homes in HOMES.items():
        assert package not in tops(path) or name in homes, f"{package} has its home in {homes}"
    if name.startswith((*ON_HOSTS, "app/")):
        assert not tops(path) & CONTROLLER_ONLY, "hosts have the packages of requirements-host.lock alone"


def test_the_pure_modules_are_there() -> None:
    assert {name for name in PURE if not (ROOT / name).exists()} == set()


def test_the_task_file_loads_nothing_heavy() -> None:
    heads = [
        node
        for node in ast.parse((ROOT / "tasks.py").read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    named = {alias.name for node in heads for alias in node.names} | {getattr(n, "module", None) for n in heads}
    assert not {name for name in named if name and name.startswith("harness")}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_is_two(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{lines} lines: this module asks to be two"
