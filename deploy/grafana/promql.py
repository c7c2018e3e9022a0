"""The expressions that panels are made of."""

from __future__ import annotations

HERE = 'job=~"$job", instance=~"$instance"'
MODEL = f'{HERE}, model=~"$model"'
ANSWERS = f'{HERE}, route=~"/v1/answer|/answer"'


def rate(metric: str, labels: str = HERE, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{labels}}}[$__rate_interval]))"


def mean(metric: str, labels: str = MODEL, by: str = "") -> str:
    return f"{rate(f'{metric}_sum', labels, by)} / {rate(f'{metric}_count', labels, by)}"


def quantile(q: float, metric: str, labels: str, by: str = "") -> str:
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', labels, f'le, {by}' if by else 'le')})"


def heat(metric: str, labels: str = MODEL) -> str:
    return rate(f"{metric}_bucket", labels, "le")


DECISIONS = rate("demur_answers_total", MODEL, "decision")
ALL_ANSWERS = rate("demur_answers_total", MODEL)


def share_of_answers(labels: str) -> str:
    """0 where no answer had them."""
    return f"({rate('demur_answers_total', f'{MODEL}, {labels}')} or vector(0)) / {ALL_ANSWERS}"


def share_of_requests(labels: str) -> str:
    """0 where no request had them."""
    total = "demur_http_requests_total"
    return f"({rate(total, f'{HERE}, {labels}')} or vector(0)) / {rate(total)}"


DISCRETE = f'{MODEL}, estimator="discrete"'
_AT_ZERO = 'le="0.0"'
_ENTROPY = "demur_semantic_entropy_nats"
UNANIMOUS = f"{rate(f'{_ENTROPY}_bucket', f'{DISCRETE}, {_AT_ZERO}')} / {rate(f'{_ENTROPY}_count', DISCRETE)}"
