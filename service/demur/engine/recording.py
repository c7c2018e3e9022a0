"""What an answer leaves in the metrics."""

from __future__ import annotations

from demur.observability.metrics import Metrics
from demur.observability.tracing import exemplar
from demur.types import Answer, Degradation


def record(answer: Answer, metrics: Metrics) -> None:
    """Count the decision, the signals, the samples and the time of one answer."""
    model, decision = answer.model, answer.decision
    metrics.answers.labels(model, answer.question.quality, decision.action.value, decision.reason.value).inc()
    metrics.confidence.labels(model, decision.action.value).observe(answer.confidence)
    if answer.calibration is not None:
        metrics.calibration_fitted.labels(model).set(answer.calibration.fitted_at.timestamp())
    for reason in answer.degraded:
        metrics.degraded.labels(reason.value).inc()
    _record_signals(answer, metrics)
    _record_work(answer, metrics)


def _record_signals(answer: Answer, metrics: Metrics) -> None:
    """A missing signal is not observed: it must not pass for 0."""
    uncertainty = answer.uncertainty
    seen = exemplar()
    if uncertainty.num_clusters is not None:
        metrics.clusters.labels(answer.model).observe(uncertainty.num_clusters)
    if uncertainty.semantic_entropy is not None:
        metrics.entropy.labels(answer.model, "discrete").observe(uncertainty.semantic_entropy, seen)
    if uncertainty.semantic_entropy_normalized is not None:
        metrics.entropy_normalized.labels(answer.model).observe(uncertainty.semantic_entropy_normalized, seen)
    if uncertainty.semantic_entropy_weighted is not None:
        metrics.entropy.labels(answer.model, "weighted").observe(uncertainty.semantic_entropy_weighted, seen)
    masses = [cluster.mass for cluster in answer.clusters if cluster.mass is not None]
    if masses:
        metrics.cluster_mass.labels(answer.model).observe(max(masses))
    if answer.token_confidence is not None:
        metrics.token_confidence.labels(answer.model).observe(answer.token_confidence.mean)
    if answer.groundedness is not None:
        metrics.groundedness.labels(answer.model).observe(answer.groundedness)


def _record_work(answer: Answer, metrics: Metrics) -> None:
    model, work = answer.model, answer.work
    n_truncated = sum(s.is_truncated for s in answer.samples)
    outcomes = {
        "ok": len(answer.samples) - n_truncated,
        "truncated": n_truncated,
        "cancelled" if Degradation.DEADLINE in answer.degraded else "error": (
            answer.question.sampling.n - len(answer.samples) - work.n_samples_saved
        ),
        "saved": work.n_samples_saved,
    }
    for outcome, n in outcomes.items():
        metrics.samples.labels(model, outcome).inc(n)
    metrics.tokens.labels(model, "prompt").inc(work.n_prompt_tokens)
    metrics.tokens.labels(model, "completion").inc(work.n_completion_tokens)
    metrics.nli_speculative_pairs.inc(work.n_pairs_speculative)
    phases = {
        "queue": work.queue_seconds,
        "generate": work.generate_seconds,
        "nli": work.nli_visible_seconds,
        "nli_hidden": work.nli_hidden_seconds,
        "decide": work.decide_seconds,
    }
    for phase, seconds in phases.items():
        metrics.phase_seconds.labels(phase).observe(seconds, exemplar())
