"""The table of all metrics for people: `python -m deploy.prometheus.table` writes docs/operations/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from demur.observability.metrics import Definition, Metrics, Values

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "metrics.md"

_HEAD = """\
# Metrics

What `/metrics` shows, in base units: seconds, nats, shares in [0, 1]. Made of `observability/metrics.py` by
`python -m deploy.prometheus.table`. Labels are bounded: their values are listed, or it is said what bounds them.
Histograms of latency and of entropy carry the trace id of a traced request as an exemplar (OpenMetrics). With vLLM in
process its own `vllm:*` metrics follow.

| Metric | Type | Labels | |
|---|---|---|---|
"""


def table(definitions: list[Definition]) -> str:
    return _HEAD + "".join(_row(each) for each in definitions)


def _row(each: Definition) -> str:
    buckets = f" Buckets: {' '.join(f'{edge:g}' for edge in each.buckets)}." if each.buckets else ""
    return f"| `{each.name}` | {each.kind} | {_labels(each.labels)} | {each.text}{buckets} |\n"


def _labels(labels: Mapping[str, Values]) -> str:
    return "<br>".join(f"`{name}`: {', '.join(v) if isinstance(v, tuple) else v}" for name, v in labels.items())


def main() -> None:
    PAGE.write_text(table(Metrics().definitions), encoding="utf-8")


if __name__ == "__main__":
    main()
