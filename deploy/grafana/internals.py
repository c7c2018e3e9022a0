"""Where the time goes."""

from __future__ import annotations

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import HERE, MODEL, mean, quantile, rate

INTERNALS = Dashboard(
    "demur-internals",
    "Demur / Internals",
    "Where the time goes, and what waits for what.",
    (
        Row(
            "Phases",
            (
                Panel(
                    "Time per answer",
                    "Mean seconds in each phase. demur_phase_duration_seconds",
                    "s",
                    (
                        Query(
                            mean("demur_phase_duration_seconds", f'{HERE}, phase!="nli_hidden"', "phase"), "{{phase}}"
                        ),
                    ),
                    is_stacked=True,
                ),
                Panel(
                    "Entailment that sampling hid",
                    "Mean seconds of entailment under way while samples were drawn. demur_phase_duration_seconds",
                    "s",
                    (Query(mean("demur_phase_duration_seconds", f'{HERE}, phase="nli_hidden"'), "hidden"),),
                ),
            ),
        ),
        Row(
            "Entailment",
            (
                Panel(
                    "Pairs",
                    "Directed pairs a second, by where the verdict came from. demur_nli_pairs_total",
                    "short",
                    (Query(rate("demur_nli_pairs_total", by="source"), "{{source}}"),),
                    width=8,
                    is_stacked=True,
                ),
                Panel(
                    "Batches",
                    "Mean pairs and padded tokens of a batch. demur_nli_batch_pairs, demur_nli_batch_tokens",
                    "short",
                    (
                        Query(mean("demur_nli_batch_pairs", HERE), "pairs"),
                        Query(mean("demur_nli_batch_tokens", HERE), "tokens"),
                    ),
                    width=8,
                ),
                Panel(
                    "Batch time and wait",
                    "p95 of the model's time for a batch, and of a pair's wait for one. "
                    "demur_nli_batch_duration_seconds, demur_nli_queue_duration_seconds",
                    "s",
                    (
                        Query(quantile(0.95, "demur_nli_batch_duration_seconds", HERE), "batch, p95"),
                        Query(quantile(0.95, "demur_nli_queue_duration_seconds", HERE), "wait, p95"),
                    ),
                    width=8,
                ),
                Panel(
                    "Pairs waiting",
                    "Pairs waiting for a batch. demur_nli_queue_pairs",
                    "short",
                    (Query(f"sum(demur_nli_queue_pairs{{{HERE}}})", "waiting"),),
                    width=8,
                    empty="none",
                ),
                Panel(
                    "Asked ahead in vain",
                    "Pairs a second that were judged ahead and not needed. demur_nli_speculative_pairs_total",
                    "short",
                    (Query(rate("demur_nli_speculative_pairs_total"), "in vain"),),
                    width=8,
                ),
                Panel(
                    "Shared verdicts",
                    "Verdicts looked up in Redis a second. demur_nli_shared_pairs_total",
                    "short",
                    (Query(rate("demur_nli_shared_pairs_total", by="result"), "{{result}}"),),
                    width=8,
                    empty="no Redis",
                ),
            ),
        ),
        Row(
            "Language model servers",
            (
                Panel(
                    "Calls",
                    "Calls a second by server and outcome. demur_backend_requests_total",
                    "reqps",
                    (Query(rate("demur_backend_requests_total", by="backend, outcome"), "{{backend}} {{outcome}}"),),
                    width=8,
                    empty="no server: the model runs in this process",
                ),
                Panel(
                    "Call time",
                    "p95 of a call, its retries included. demur_backend_request_duration_seconds",
                    "s",
                    (Query(quantile(0.95, "demur_backend_request_duration_seconds", HERE, "backend"), "{{backend}}"),),
                    width=8,
                    empty="no server: the model runs in this process",
                ),
                Panel(
                    "Trouble",
                    "Calls under way, repeated calls a second, and servers avoided because they failed. "
                    "demur_backend_inflight, demur_backend_retries_total, demur_backend_circuit_open",
                    "short",
                    (
                        Query(f"sum(demur_backend_inflight{{{HERE}}})", "under way"),
                        Query(rate("demur_backend_retries_total"), "retries a second"),
                        Query(f"sum(demur_backend_circuit_open{{{HERE}}})", "avoided"),
                    ),
                    width=8,
                    empty="no server: the model runs in this process",
                ),
            ),
        ),
        Row(
            "Memory and storage",
            (
                Panel(
                    "Answer cache",
                    "Look-ups a second by tier and result. demur_cache_requests_total",
                    "reqps",
                    (Query(rate("demur_cache_requests_total", by="tier, result"), "{{tier}} {{result}}"),),
                    width=8,
                    empty="switched off",
                ),
                Panel(
                    "Shared work",
                    "How answers that were not remembered came about. demur_singleflight_total",
                    "reqps",
                    (Query(rate("demur_singleflight_total", by="result"), "{{result}}"),),
                    width=8,
                    empty="switched off",
                ),
                Panel(
                    "Records",
                    "Records to keep, by what became of them. demur_store_writes_total",
                    "reqps",
                    (Query(rate("demur_store_writes_total", by="record, outcome"), "{{record}} {{outcome}}"),),
                    width=8,
                ),
                Panel(
                    "Feedback",
                    "Labels a second. demur_feedback_total",
                    "reqps",
                    (Query(rate("demur_feedback_total", MODEL, "label, source"), "{{label}} ({{source}})"),),
                    width=8,
                    empty="no feedback yet",
                ),
                Panel(
                    "Beyond their rate",
                    "Requests a second beyond a key's rate; and replicas that count for "
                    "themselves while Redis is away. demur_ratelimited_total, demur_ratelimit_local",
                    "short",
                    (
                        Query(rate("demur_ratelimited_total", by="limit"), "{{limit}}"),
                        Query(f"sum(demur_ratelimit_local{{{HERE}}})", "counting alone"),
                    ),
                    width=8,
                    empty="none",
                ),
                Panel(
                    "What runs",
                    "Versions and models. demur_build_info, demur_model_info",
                    "short",
                    (
                        Query(f"sum by (version) (demur_build_info{{{HERE}}})", is_instant=True),
                        Query(f"sum by (role, model) (demur_model_info{{{HERE}}})", is_instant=True),
                    ),
                    "table",
                    8,
                ),
            ),
        ),
    ),
)
