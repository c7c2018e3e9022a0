"""Dashboards, rules and alerts agree with the code: generated, complete, and made of metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from demur.observability.metrics import Metrics
from deploy.grafana.build import DASHBOARDS, FOLDER, text_of
from deploy.grafana.panels import COLUMNS, Dashboard, Panel

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
# Counted for alerts and for people who look into /metrics by hand; no panel needs them.
NOT_SHOWN: set[str] = set()
UNITS = {"short", "s", "percentunit", "reqps"}
VARIABLES = {"$__rate_interval": "5m", "$__range": "7d", "$job": ".*", "$instance": ".*", "$model": ".*"}


def _rules(kind: str) -> list[dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    rules = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    return [rule for rule in rules if kind in rule]


def _filled(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def _expressions() -> Iterator[str]:
    yield from (query.expr for _, panel in PANELS for query in panel.queries)
    yield from (rule["expr"] for rule in (*_rules("alert"), *_rules("record")))


def _families() -> set[str]:
    return {family.name for family in Metrics().registry.collect()}


def _named(expr: str) -> set[str]:
    """Metric families of ours that an expression names, without the endings that histograms and counters add."""
    names = set(re.findall(r"\bdemur_[a-z_]+", expr))
    return {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in names}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_what_is_committed_is_what_the_builder_makes(dashboard: Dashboard) -> None:
    committed = (FOLDER / f"{dashboard.uid}.json").read_text(encoding="utf-8")
    assert committed == text_of(dashboard), "run `python -m deploy.grafana.build`"


def test_no_dashboard_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {dashboard.uid for dashboard in DASHBOARDS}


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=lambda x: getattr(x, "uid", None) or x.title)
def test_a_panel_explains_itself(dashboard: Dashboard, panel: Panel) -> None:
    """A title, a description that names its metrics, a unit, words for having no data, and few enough queries."""
    assert panel.title
    assert panel.unit
    assert panel.empty
    assert 1 <= len(panel.queries) <= 4
    for query in panel.queries:
        for name in _named(query.expr):
            recorded = "demur:" in query.expr
            assert recorded or name in panel.description, f"{name} is missing from the description"
        assert 'job=~"$job"' in query.expr
        assert "[5m]" not in query.expr, "a fixed window fits one zoom only; use $__rate_interval"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_panels_have_numbers_of_their_own_and_fit_the_page(dashboard: Dashboard) -> None:
    panels = dashboard.to_json()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.uid)
def test_whose_data_is_shown_can_be_chosen(dashboard: Dashboard) -> None:
    """The data source, job, instance and model are variables, and no panel nor query has a source of its own."""
    made = dashboard.to_json()
    variables = {variable["name"]: variable for variable in made["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance", "model"]
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    for panel in (panel for panel in made["panels"] if panel["type"] != "row"):
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=lambda x: getattr(x, "uid", None) or x.title)
def test_a_panel_keeps_the_rules_of_the_linter(dashboard: Dashboard, panel: Panel) -> None:
    """Units that Grafana knows; titles without a full stop; rates over the interval that fits the zoom; counters only
    as rates or increases; legends of labels that are there."""
    assert panel.unit in UNITS
    assert panel.title[0].isupper()
    assert panel.title[-1] not in ".:"
    assert (panel.unit == "percentunit") or panel.maximum is None
    for query in panel.queries:
        windows = set(re.findall(r"\b(\w+)\([^\[(]*\[([^\]]+)\]", query.expr))
        assert windows <= {("rate", "$__rate_interval"), ("increase", "$__range"), ("increase", "1d")}
        counters = re.findall(r"(\w*\(?)demur_\w+_(?:total|count|sum|bucket)\{", query.expr)
        assert set(counters) <= {"rate(", "increase("}
        if query.legend.count("{{") and "by (" in query.expr:
            grouped = {
                label.strip() for group in re.findall(r"by \(([^)]*)\)", query.expr) for label in group.split(",")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= grouped


def test_every_dashboard_leads_to_the_others() -> None:
    for dashboard in DASHBOARDS:
        [link] = dashboard.to_json()["links"]
        assert (link["type"], link["tags"], link["includeVars"]) == ("dashboards", ["demur"], True)


def test_node_packages_are_pinned() -> None:
    """What checks the types is the same for everybody, and the lock names no host."""
    folder = ROOT / "deploy" / "grafana" / "schema"
    wanted = json.loads((folder / "package.json").read_text())["devDependencies"]
    lock = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert {name: lock[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all("integrity" in package and "resolved" not in package for name, package in lock.items() if name)


def test_titles_and_addresses_are_unique() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        titles = [panel.title for panel in dashboard.panels]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("expr", sorted(set(_expressions())))
def test_every_expression_is_promql(expr: str) -> None:
    promql_parser.parse(_filled(expr))


def test_every_metric_that_is_named_exists() -> None:
    named = set().union(*(_named(expr) for expr in _expressions()))
    assert named - {re.sub(r"_total$", "", name) for name in _families()} == set()


def test_every_metric_that_exists_is_shown() -> None:
    shown = set().union(*(_named(expr) for expr in _expressions()))
    assert {re.sub(r"_total$", "", name) for name in _families()} - shown == NOT_SHOWN


def test_every_alert_is_explained_tested_and_has_words() -> None:
    runbook = (ROOT / "docs" / "operations" / "runbook.md").read_text(encoding="utf-8")
    tested = (Path(__file__).parent / "alerts_test.yml").read_text(encoding="utf-8")
    for rule in _rules("alert"):
        name = rule["alert"]
        assert f"\n## {name}\n" in runbook
        assert f"alertname: {name}\n" in tested
        assert rule["annotations"]["runbook"] == f"docs/operations/runbook.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert "for" in rule
        assert rule["annotations"]["summary"]


@pytest.mark.prometheus
@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", *map(str, sorted(RULES.glob("*.yml")))],
        ["check", "config", "--syntax-only", str(RULES.parent / "prometheus.yml")],
        ["test", "rules", str(Path(__file__).parent / "alerts_test.yml")],
    ],
    ids=["rules are sound", "configuration is sound", "alerts fire on their faults"],
)
def test_prometheus_own_tool_says_so(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "install Debian's prometheus package (make test does so as root)"
    done = subprocess.run([promtool, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
