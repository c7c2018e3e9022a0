"""What an operator looks at first."""

from __future__ import annotations

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import (
    ALL_ANSWERS,
    ANSWERS,
    DECISIONS,
    HERE,
    MODEL,
    quantile,
    rate,
    share_of_answers,
    share_of_requests,
)

_SAVED = 'outcome="saved"'

OVERVIEW = Dashboard(
    "demur-overview",
    "Demur / Overview",
    "How much is asked, what is decided, how long it takes.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Answers",
                    "Answers a second. demur_answers_total",
                    "reqps",
                    (Query(ALL_ANSWERS, "answers"),),
                    "stat",
                    4,
                    4,
                ),
                Panel(
                    "Abstained",
                    "Share of answers with the decision abstain. demur_answers_total",
                    "percentunit",
                    (Query(share_of_answers('decision="abstain"'), "abstained"),),
                    "stat",
                    4,
                    4,
                    warn_above=0.2,
                ),
                Panel(
                    "To be looked up",
                    "Share of answers with the decision retrieve. demur_answers_total",
                    "percentunit",
                    (Query(share_of_answers('decision="retrieve"'), "retrieve"),),
                    "stat",
                    4,
                    4,
                ),
                Panel(
                    "Latency, p95",
                    "95 % of answers were there within. demur_http_request_duration_seconds",
                    "s",
                    (Query(quantile(0.95, "demur_http_request_duration_seconds", ANSWERS), "p95"),),
                    "stat",
                    4,
                    4,
                ),
                Panel(
                    "Server errors",
                    "Share of requests that ended in 5xx. demur_http_requests_total",
                    "percentunit",
                    (Query(share_of_requests('status="5xx"'), "5xx"),),
                    "stat",
                    4,
                    4,
                    warn_above=0.01,
                ),
                Panel(
                    "Replicas ready",
                    "Replicas that take requests. demur_ready",
                    "short",
                    (Query(f"sum(demur_ready{{{HERE}}})", "ready"),),
                    "stat",
                    4,
                    4,
                    empty="none",
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel(
                    "Decisions",
                    "Answers a second by decision. demur_answers_total",
                    "reqps",
                    (Query(DECISIONS, "{{decision}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Decision mix",
                    "Share of each decision. demur_answers_total",
                    "percentunit",
                    (Query(f"{DECISIONS} / scalar({ALL_ANSWERS})", "{{decision}}"),),
                    is_stacked=True,
                    maximum=1,
                ),
                Panel(
                    "Latency",
                    "Time to the full response of /v1/answer. demur_http_request_duration_seconds",
                    "s",
                    tuple(
                        Query(
                            quantile(q, "demur_http_request_duration_seconds", ANSWERS),
                            f"p{100 * q:g}",
                            has_exemplars=True,
                        )
                        for q in (0.5, 0.95, 0.99)
                    ),
                ),
                Panel(
                    "Requests by status",
                    "HTTP requests a second. demur_http_requests_total",
                    "reqps",
                    (Query(rate("demur_http_requests_total", by="status"), "{{status}}"),),
                    is_stacked=True,
                ),
            ),
        ),
        Row(
            "Load and cost",
            (
                Panel(
                    "At work and waiting",
                    "Answers being worked on, and waiting for a place. demur_inflight_requests, demur_queued_requests",
                    "short",
                    (
                        Query(f"sum(demur_inflight_requests{{{HERE}}})", "at work"),
                        Query(f"sum(demur_queued_requests{{{HERE}}})", "waiting"),
                    ),
                    empty="nothing",
                ),
                Panel(
                    "Refused",
                    "Requests refused a second, by reason. demur_rejected_total",
                    "reqps",
                    (Query(rate("demur_rejected_total", by="reason"), "{{reason}}"),),
                    empty="none refused",
                ),
                Panel(
                    "Samples",
                    "Samples a second by what became of them. demur_samples_total",
                    "short",
                    (Query(rate("demur_samples_total", MODEL, "outcome"), "{{outcome}}"),),
                    is_stacked=True,
                ),
                Panel(
                    "Samples saved",
                    "Share of samples that nobody had to draw, because the answer was remembered or shared. "
                    "demur_samples_total",
                    "percentunit",
                    (
                        Query(
                            f"({rate('demur_samples_total', f'{MODEL}, {_SAVED}')} or vector(0)) / "
                            f"{rate('demur_samples_total', MODEL)}",
                            "saved",
                        ),
                    ),
                    maximum=1,
                ),
                Panel(
                    "Tokens an answer",
                    "Tokens read and written for each answer that was drawn. demur_tokens_total, demur_answers_total",
                    "short",
                    (
                        Query(
                            f"{rate('demur_tokens_total', MODEL, 'kind')} / on () group_left {ALL_ANSWERS}", "{{kind}}"
                        ),
                    ),
                ),
                Panel(
                    "Tokens",
                    "Tokens a second. demur_tokens_total",
                    "short",
                    (Query(rate("demur_tokens_total", MODEL, "kind"), "{{kind}}"),),
                    is_stacked=True,
                ),
            ),
        ),
    ),
)
