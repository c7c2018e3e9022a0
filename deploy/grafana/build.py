"""The dashboards that Grafana is provisioned with: `python -m deploy.grafana.build` writes them.

A test compares what is committed with what this makes, and runs every query on a real Prometheus.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.calibration import CALIBRATION
from deploy.grafana.internals import INTERNALS
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.panels import Dashboard
from deploy.grafana.uncertainty import UNCERTAINTY

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (OVERVIEW, UNCERTAINTY, CALIBRATION, INTERNALS)


def text_of(dashboard: Dashboard) -> str:
    return json.dumps(dashboard.to_json(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.uid}.json").write_text(text_of(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
