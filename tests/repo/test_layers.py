"""The shape of the code: which package may import which, and which packages may touch the outside world."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = (
    "tasks", "__main__", "cli", "report", "selfbench", "measure", "targets", "faults", "scenarios", "checks", "compare",
    "results", "store", "provision", "plan", "analysis", "histories", "isolation", "load", "host_scripts", "rig",
    "record", "fault_record", "model", "text", "errors",
)  # fmt: skip
"""In the order of the data, last first: a module imports its own package and what stands to the right of it."""
HOST_CODE = ("errors", "model", "fault_record", "record", "text", "host_scripts", "load", "isolation")
"""What is deployed on hosts beside app/: it imports nothing of the controller's."""
PURE = (
    "plan", "scenarios", "checks", "analysis", "histories", "compare", "model", "fault_record", "record", "text",
    "errors",
)  # fmt: skip
"""Packages that decide and compute; they open no file, socket or process and read no clock."""
IMPURE_MODULES = ("harness/compare/noise_floor_file.py",)
PURE_MODULES = (
    "harness/load/spec.py", "harness/load/job.py", "harness/load/schedule.py",
    "harness/load/steady_state.py", "harness/load/coordinator.py",
    "harness/load/generator_checks.py", "harness/load/decode.py", "harness/load/outcome.py", "harness/load/counters.py",
    "harness/load/littles_law.py", "harness/load/results/service_times.py",
    "harness/load/results/summary.py", "harness/isolation/case_model.py", "harness/isolation/cases.py",
    "harness/isolation/observe.py", "harness/isolation/deadlock_pairs.py", "harness/isolation/matrix.py",
    "harness/report/charts/correctness.py", "harness/report/charts/telemetry.py",
)  # fmt: skip
"""Pure modules of packages that are not pure as a whole."""
IO = {
    "aiohttp", "asyncio", "fabric", "hdrh", "http", "httptools", "paramiko", "psycopg", "select", "selectors",
    "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uvloop",
}  # fmt: skip
HOMES = {
    "fabric": ("harness/rig/",),
    "paramiko": ("harness/rig/",),
    "cryptography": ("harness/provision/certificates.py",),
    "hdrh": ("harness/load/results/histogram.py",),
    "jinja2": ("harness/report/",),
    "packaging": ("harness/provision/bundle.py",),
    "pydantic": ("harness/cli/configuration.py", "harness/provision/", "harness/rig/state.py", "harness/store/"),
    "pydantic_settings": ("harness/cli/configuration.py",),
    "rich": ("harness/cli/", "harness/report/terminal.py"),
    "vl_convert": ("harness/report/",),
    "yaml": ("harness/provision/", "harness/rig/", "harness/store/"),
}
"""Third-party package -> the only places that import it."""
CONTROLLER_ONLY = {"ansible", "cryptography", "fabric", "invoke", "jinja2", "mitogen", "paramiko", "pydantic",
                   "pydantic_settings", "rich", "vl_convert", "yaml"}  # fmt: skip
MAX_LINES = 300


def modules() -> list[Path]:
    """Every Python file of the tool, of the service and of its faulty copies."""
    folders = ("app", "controls", "harness")
    return sorted([ROOT / "tasks.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports, at its top or inside functions; not for types alone."""
    return imports_of(path.read_text(encoding="utf-8"))


@cache
def imports_of(text: str) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(text)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def tops(path: Path) -> set[str]:
    """The packages that a file imports from: `asyncio` of `asyncio.subprocess`."""
    return {name.split(".")[0] for name in imports(path)}


def layer_of(dotted: str) -> str:
    """The layer of a module of the harness: `harness.load.job` -> `load`."""
    return dotted.split(".")[1]


def own_layer(path: Path) -> str:
    relative = path.relative_to(ROOT / "harness").parts if path.name != "tasks.py" else ("tasks.py",)
    return relative[0].removesuffix(".py")


SERVICE = ("app/", "controls/")
MODULES = modules()
HARNESS = [path for path in MODULES if not name_of(path).startswith(SERVICE)]


def broken_by(rule: Callable[[Path], object], paths: Iterable[Path] = MODULES) -> dict[str, object]:
    """The modules that break a rule -> what breaks it; one test per rule, because there are thousands of pairs."""
    return {name_of(path): wrong for path in paths if (wrong := rule(path))}


def not_lower(path: Path) -> set[str]:
    own = own_layer(path)
    if own == "__init__":
        return {name for name in imports(path) if name.startswith("harness")}
    allowed = set(LAYERS[LAYERS.index(own) :])
    return {
        name
        for name in imports(path)
        if name.startswith("harness.") and name != "harness.__version__" and layer_of(name) not in allowed
    }


def test_a_module_imports_only_lower_layers() -> None:
    assert broken_by(not_lower, HARNESS) == {}


def the_other_half(path: Path) -> set[str]:
    return tops(path) & {"harness" if name_of(path).startswith(SERVICE) else "app"}


def test_app_and_harness_never_import_each_other() -> None:
    assert broken_by(the_other_half) == {}


def faulty_copies(path: Path) -> set[str]:
    return tops(path) & {"controls"}


def test_nothing_imports_the_service_with_errors() -> None:
    assert broken_by(faulty_copies) == {}


def is_pure(path: Path) -> bool:
    name = name_of(path)
    return name in PURE_MODULES or (own_layer(path) in PURE and name not in IMPURE_MODULES)


def of_the_outside(path: Path) -> set[str]:
    return tops(path) & IO


def test_pure_code_imports_no_input_or_output() -> None:
    assert broken_by(of_the_outside, filter(is_pure, HARNESS)) == {}


def away_from_home(path: Path) -> set[str]:
    return {package for package in tops(path) & set(HOMES) if not name_of(path).startswith(HOMES[package])}


def test_a_third_party_package_has_one_home() -> None:
    assert broken_by(away_from_home) == {}


def is_host_code(path: Path) -> bool:
    return name_of(path).startswith(SERVICE) or own_layer(path) in HOST_CODE


def of_the_controller(path: Path) -> set[str]:
    harness = {name for name in imports(path) if name.startswith("harness.") and layer_of(name) not in HOST_CODE}
    return harness | tops(path) & CONTROLLER_ONLY


def test_host_code_imports_nothing_of_the_controller() -> None:
    assert broken_by(of_the_controller, filter(is_host_code, MODULES)) == {}


def nested_conditionals(path: Path) -> list[int]:
    """Lines of conditional expressions that contain another one as an operand (`a if b else c if d else e`)."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.IfExp)
        and any(isinstance(part, ast.IfExp) for part in (node.body, node.test, node.orelse))
    ]


def test_no_conditional_expression_is_nested() -> None:
    assert broken_by(nested_conditionals) == {}, "use if statements or model.verdict_from"


def test_every_package_has_a_layer() -> None:
    found = {own_layer(path) for path in HARNESS} - {"__init__"}
    assert found == set(LAYERS)
    assert {name for name in (*PURE_MODULES, *IMPURE_MODULES) if not (ROOT / name).exists()} == set()


def test_the_checks_of_this_file_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from harness.report import page\n    import socket\n")
    assert imports(file) == {"harness.report.page", "socket"}
    file.write_text("x = 1 if a else 2\ny = 1 if a else 2 if b else 3\n")
    assert nested_conditionals(file) == [2]
    file.write_text("x = 1\n" * (MAX_LINES + 1))
    assert too_long(file) == MAX_LINES + 1
    assert layer_of("harness.report.page") == "report"
    assert "report" not in LAYERS[LAYERS.index("store") :]


def test_the_task_file_imports_nothing_heavy_at_its_top() -> None:
    """Tab completion imports it on every TAB."""
    top = [n for n in ast.parse((ROOT / "tasks.py").read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    named = {alias.name for node in top for alias in node.names} | {getattr(n, "module", None) for n in top}
    own = {"harness.cli.develop_tasks", "harness.cli.task", "harness.model", "harness.plan.options"}
    assert {name for name in named if name and name.startswith("harness")} == own
    for module in ("options", "option_values", "fault_schedule"):
        assert not {name.split(".")[0] for name in imports(ROOT / f"harness/plan/{module}.py")} - {
            "__future__", "collections", "dataclasses", "functools", "harness", "random", "typing",
        }  # fmt: skip
    top = [n for n in ast.parse((ROOT / "harness/cli/task.py").read_text()).body if isinstance(n, ast.ImportFrom)]
    assert {n.module for n in top if (n.module or "").startswith("harness")} == {
        "harness.plan.option_values", "harness.plan.options",
    }  # fmt: skip
    tree = ast.parse((ROOT / "harness/cli/develop_tasks.py").read_text())
    assert {n.module for n in tree.body if isinstance(n, ast.ImportFrom)} == {
        "__future__", "harness.cli.task", "invoke",
    }  # fmt: skip


def too_long(path: Path) -> int:
    """The number of lines of a file that has too many, else 0."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    return lines if lines > MAX_LINES else 0


def test_a_module_has_at_most_300_lines() -> None:
    assert broken_by(too_long, [*MODULES, *(ROOT / "tests").rglob("*.py")]) == {}, "split it by subject"


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (not_lower, "harness/store/x.py", "from harness.report import page"),
        (not_lower, "harness/errors.py", "def f():\n    import harness.text"),
        (the_other_half, "harness/model.py", "import app.settings"),
        (the_other_half, "app/x.py", "from harness import model"),
        (faulty_copies, "harness/cli/x.py", "import controls.stale_read"),
        (of_the_outside, "harness/analysis/x.py", "import asyncio.subprocess"),
        (away_from_home, "harness/targets/x.py", "import yaml"),
        (of_the_controller, "harness/load/x.py", "import harness.measure.runner"),
        (of_the_controller, "app/x.py", "import pydantic"),
    ],
)
def test_a_module_that_breaks_a_rule_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: Callable[[Path], object], name: str, text: str
) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file, innocent = tmp_path / name, tmp_path / "harness/text.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    innocent.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
    innocent.write_text("import re\n")
    assert set(broken_by(rule, [file, innocent])) == {name}
    assert is_pure(innocent)
    assert is_host_code(innocent)
