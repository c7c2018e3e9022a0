"""Grafana panels as values, and the JSON that Grafana 10 to 13 read (classic schema)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 42
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24

Kind = Literal["timeseries", "stat", "heatmap", "table", "bargauge"]


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression; `legend` names its series. `is_instant`: only now, not over time. `has_exemplars`: with
    dots that lead to traces."""

    expr: str
    legend: str = ""
    is_instant: bool = False
    is_heatmap: bool = False
    has_exemplars: bool = False

    def to_json(self, ref: str) -> dict[str, Any]:
        return {
            "refId": ref,
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": self.expr,
            "legendFormat": self.legend or "__auto",
            "format": "heatmap" if self.is_heatmap else "table" if self.is_instant else "time_series",
            "instant": self.is_instant,
            "range": not self.is_instant,
            "exemplar": self.has_exemplars,
        }


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit` is Grafana's name of it; `width` of 24 columns; `empty` is shown where there is no data."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "timeseries"
    width: int = 12
    height: int = 8
    is_stacked: bool = False
    maximum: float | None = None
    warn_above: float | None = None
    empty: str = "no traffic"

    def to_json(self, number: int, x: int, y: int) -> dict[str, Any]:
        refs = "ABCDEFGH"
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [query.to_json(refs[i]) for i, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": []},
            "options": self._options(),
        }

    def _defaults(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "noValue": self.empty,
            "min": 0,
            "thresholds": self._thresholds(),
        }
        if self.maximum is not None:
            defaults["max"] = self.maximum
        if self.kind == "timeseries":
            stacking = {"mode": "normal" if self.is_stacked else "none", "group": "A"}
            defaults["custom"] = {"fillOpacity": 60 if self.is_stacked else 8, "lineWidth": 1, "stacking": stacking}
        return defaults

    def _thresholds(self) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if self.warn_above is not None:
            steps.append({"color": "orange", "value": self.warn_above})
        return {"mode": "absolute", "steps": steps}

    def _options(self) -> dict[str, Any]:
        if self.kind == "timeseries":
            legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
            return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
        if self.kind == "heatmap":
            return _heatmap(self.unit)
        if self.kind == "table":
            return {"showHeader": True, "cellHeight": "sm"}
        reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduced, "orientation": "auto"}


def _heatmap(unit: str) -> dict[str, Any]:
    return {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Viridis", "steps": 64, "exponent": 0.5, "fill": "dark-blue"},
        "yAxis": {"unit": unit, "axisPlacement": "left"},
        "cellGap": 1,
        "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": True},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    }


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, laid out from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of Grafana; `uid` is part of its address."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    since: str = "now-3h"

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)

    def to_json(self) -> dict[str, Any]:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["demur"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "timezone": "browser",
            "links": [_link_to_others()],
            "annotations": {"list": []},
            "templating": {"list": [_datasource_variable(), *map(_label_variable, VARIABLES)]},
            "panels": list(_laid_out(self.rows)),
        }


VARIABLES = ("job", "instance", "model")


def _link_to_others() -> dict[str, Any]:
    return {
        "title": "Demur", "type": "dashboards", "tags": ["demur"], "asDropdown": True, "includeVars": True,
        "keepTime": True, "targetBlank": False, "icon": "external link", "tooltip": "", "url": "",
    }  # fmt: skip


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _label_variable(label: str) -> dict[str, Any]:
    source = "demur_answers_total" if label == "model" else "demur_ready"
    query = f"label_values({source}, {label})"
    return {
        "name": label, "label": label, "type": "query", "datasource": DATASOURCE, "refresh": 2, "hide": 0, "sort": 1,
        "query": {"query": query, "refId": "variable"},
        "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def _laid_out(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for row in rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        number, y, x, tallest = number + 1, y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            yield panel.to_json(number, x, y)
            number, x, tallest = number + 1, x + panel.width, max(tallest, panel.height)
        y += tallest
