"""docs/observability: every metric of the dashboard exists, and the scrape file names what is exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.metrics import OPERATIONS, RESULTS, prometheus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs/observability"
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
HAPROXY = {
    line
    for line in (FOLDER / "haproxy-metrics.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
}
DOCUMENT: dict[str, Any] = {
    "container": "app-1",
    "database": {"total_records": 1},
    "database_up": 1,
    "requests": {op: dict.fromkeys(RESULTS, 1) for op in OPERATIONS},
    "retries": 1,
    "transactions": 1,
    "pool": {"total": 5, "idle": 4, "waiting": 0, "peak": 5},
    "uptime": 1.0,
}
SERVICE = {
    line.split(" ")[0] for line in prometheus(DOCUMENT, openmetrics=False).splitlines() if not line.startswith("#")
}
"""The series of the service: `name{label="value",…}`."""


def unknown_names(expressions: list[str]) -> set[str]:
    names = {name for text in expressions for name in re.findall(r"\b(?:haproxy|pgcrucible)_\w+", text)}
    return names - HAPROXY - {series.partition("{")[0] for series in SERVICE}


def unknown_labels(expressions: list[str]) -> set[str]:
    """Values of the service's labels `op` and `state` that it never sends."""
    values = {f"{name}={value}" for series in SERVICE for name, value in re.findall(r'(\w+)="([^"]*)"', series)}
    asked = {
        f"{label}={value}"
        for text in expressions
        for name, selector in re.findall(r"\b(pgcrucible_\w+)\{([^}]*)\}", text)
        for label, alternatives in re.findall(r'(\w+)(?:=~|!~|!=|=)"([^"]*)"', selector)
        for value in alternatives.split("|")
        if name
    }
    return asked - values


def test_every_metric_of_the_dashboard_exists() -> None:
    assert len(EXPRESSIONS) >= 12
    assert unknown_names(EXPRESSIONS) == set()
    assert unknown_labels(EXPRESSIONS) == set()


@pytest.mark.parametrize("wrong", ["rate(haproxy_frontend_requests[1m])", "sum(pgcrucible_request_total)"])
def test_a_metric_that_does_not_exist_is_noticed(wrong: str) -> None:
    assert len(unknown_names([wrong])) == 1


def test_a_label_that_does_not_exist_is_noticed() -> None:
    assert unknown_labels(['pgcrucible_requests_total{op!~"health|alive"}']) == {"op=alive"}


def test_haproxys_names_are_sorted_and_single() -> None:
    names = [line for line in (FOLDER / "haproxy-metrics.txt").read_text().splitlines() if not line.startswith("#")]
    assert names == sorted(set(names))
    assert len(names) > 100


def test_the_scrape_file_asks_the_ports_that_export() -> None:
    jobs = {
        job["job_name"]: job
        for job in yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    }
    defaults = yaml.safe_load((ROOT / "playbooks/roles/haproxy/defaults/main.yml").read_text(encoding="utf-8"))
    app = yaml.safe_load((ROOT / "playbooks/roles/app/defaults/main.yml").read_text(encoding="utf-8"))
    (haproxy,) = jobs["pgcrucible-haproxy"]["static_configs"]
    assert haproxy["targets"] == [f"127.0.0.1:{defaults['haproxy_stats_port']}"]
    (service,) = jobs["pgcrucible-app"]["static_configs"]
    assert {target.rpartition(":")[2] for target in service["targets"]} == {str(app["app_port"])}
    assert jobs["pgcrucible-app"]["params"] == {"database": ["0"]}, "a scrape must not query the database"


def test_panels_do_not_overlap_and_have_a_description() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
    assert all(panel["description"] for panel in DASHBOARD["panels"])
