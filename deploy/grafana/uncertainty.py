"""What the models know, and whether that changes."""

from __future__ import annotations

from deploy.grafana.panels import Dashboard, Panel, Query, Row
from deploy.grafana.promql import DISCRETE, MODEL, UNANIMOUS, heat, mean, rate

# The rules keep no instance.
_ABSTAINED = 'job=~"$job", model=~"$model", decision="abstain"'

UNCERTAINTY = Dashboard(
    "demur-uncertainty",
    "Demur / Uncertainty",
    "What the models know and do not know, and whether that changes.",
    (
        Row(
            "Entropy over meanings",
            (
                Panel(
                    "Semantic entropy",
                    "How many answers had how much entropy; the lowest bucket is unanimity. "
                    "demur_semantic_entropy_nats",
                    "short",
                    (
                        Query(
                            heat("demur_semantic_entropy_nats", DISCRETE), "{{le}}", is_heatmap=True, has_exemplars=True
                        ),
                    ),
                    "heatmap",
                    24,
                    9,
                ),
                Panel(
                    "Mean entropy by model",
                    "In nats; 0: all samples mean the same. demur_semantic_entropy_nats",
                    "short",
                    (Query(mean("demur_semantic_entropy_nats", DISCRETE, "model"), "{{model}}"),),
                    width=6,
                ),
                Panel(
                    "Share of the most entropy",
                    "Mean entropy as a share of what as many samples can have at most: comparable whatever the quality "
                    "asked for. demur_semantic_entropy_normalized_ratio",
                    "percentunit",
                    (Query(mean("demur_semantic_entropy_normalized_ratio", by="model"), "{{model}}"),),
                    width=6,
                    maximum=1,
                ),
                Panel(
                    "Unanimous",
                    "Share of answers whose samples all mean the same. Near 1 for long: is the "
                    "temperature 0, or the seed fixed? demur_semantic_entropy_nats",
                    "percentunit",
                    (Query(UNANIMOUS, "unanimous"),),
                    width=6,
                    maximum=1,
                ),
                Panel(
                    "Meanings per answer",
                    "Mean number of clusters. demur_clusters",
                    "short",
                    (Query(mean("demur_clusters", by="model"), "{{model}}"),),
                    width=6,
                ),
            ),
        ),
        Row(
            "Confidence",
            (
                Panel(
                    "Confidence",
                    "How many answers had how much confidence. demur_confidence_ratio",
                    "percentunit",
                    (Query(heat("demur_confidence_ratio"), "{{le}}", is_heatmap=True),),
                    "heatmap",
                ),
                Panel(
                    "Mean confidence, and token probability",
                    "Each sees what the other misses: where they part, look closer. demur_confidence_ratio, "
                    "demur_token_confidence_ratio, demur_cluster_mass_ratio",
                    "percentunit",
                    (
                        Query(mean("demur_confidence_ratio"), "confidence"),
                        Query(mean("demur_token_confidence_ratio"), "token probability"),
                        Query(mean("demur_cluster_mass_ratio"), "probability of the heaviest meaning"),
                    ),
                    maximum=1,
                ),
                Panel(
                    "Groundedness",
                    "Mean entailment of answers by their passages. demur_groundedness_ratio",
                    "percentunit",
                    (Query(mean("demur_groundedness_ratio"), "groundedness"),),
                    maximum=1,
                    empty="no answer with passages",
                ),
                Panel(
                    "Reasons",
                    "Answers a second by decision and reason. demur_answers_total",
                    "reqps",
                    (
                        Query(
                            f"{rate('demur_answers_total', MODEL, 'decision, reason')} > 0", "{{decision}}, {{reason}}"
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Drift",
            (
                Panel(
                    "Entropy against last week",
                    "Mean entropy of an hour, now and seven days before. demur_semantic_entropy_nats",
                    "short",
                    (
                        Query(f"demur:semantic_entropy_nats:mean_rate1h{{{MODEL}}}", "{{model}}"),
                        Query(f"demur:semantic_entropy_nats:mean_rate1h{{{MODEL}}} offset 7d", "{{model}}, a week ago"),
                    ),
                    width=8,
                    empty="less than an hour of traffic",
                ),
                Panel(
                    "Abstained, against last week",
                    "Share of answers with the decision abstain, now and seven days before. demur_answers_total",
                    "percentunit",
                    (
                        Query(f"demur:decision:ratio_rate5m{{{_ABSTAINED}}}", "{{model}}"),
                        Query(f"demur:decision:ratio_rate5m{{{_ABSTAINED}}} offset 7d", "{{model}}, a week ago"),
                    ),
                    width=8,
                    maximum=1,
                    empty="nothing was abstained from",
                ),
                Panel(
                    "Missing and weakened signals",
                    "Answers a second that lack something, by what. demur_degraded_total",
                    "reqps",
                    (Query(rate("demur_degraded_total", by="reason"), "{{reason}}"),),
                    width=8,
                    empty="nothing is missing",
                ),
                Panel(
                    "Chat completions without a verdict",
                    "Handed on unscored a second, by reason. demur_unscored_total",
                    "reqps",
                    (Query(rate("demur_unscored_total", by="reason"), "{{reason}}"),),
                    empty="all were scored",
                ),
            ),
        ),
    ),
)
