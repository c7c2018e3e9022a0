"""Every metric of the service, in one file. Labels are bounded: never a prompt, user, key or answer id.

docs/operations/metrics.md is made of this file: `python -m deploy.prometheus.table`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

from demur.errors import Draining, Overloaded, StoreFull, StoreUnavailable
from demur.types import Action, Degradation, Reason

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_PHASE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_NATS = (0, 0.1, 0.25, 0.5, 0.69, 0.9, 1.1, 1.39, 1.61, 2.08, 2.31, 2.78, 3.47)
_RATIO = (*(round(0.05 * k, 2) for k in range(1, 20)), 0.99)
_CLUSTERS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 32)
_PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

Values = str | tuple[str, ...]  # all that a label can be; or, in words, what bounds it

_MODEL = "names of the models that are served"
_BACKEND = "host and port of a configured base URL"
_DECISION = tuple(Action)
_WORD = ("correct", "incorrect", "partial", "score")
_SOURCE = ("audit", "human", "grader", "implicit")
N_BINS = 10
_BIN = tuple(f"{k / N_BINS:.1f}" for k in range(1, N_BINS + 1))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric as the documentation shows it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    text: str
    labels: dict[str, Values]
    buckets: tuple[float, ...] = ()


class Metrics:
    """One instance per application, on a registry of its own, so that two applications in a process do not clash."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.definitions: list[Definition] = []
        self._counters: list[tuple[Counter, dict[str, Values]]] = []
        self._add_http()
        self._add_answers()
        self._add_signals()
        self._add_labels()
        self._add_entailment()
        self._add_backend()
        self._add_store()
        self._add_cache()
        self._add_load()

    def include_engine(self) -> None:
        """Show the metrics of vLLM's engine, too, which it keeps on the registry of the whole process."""
        self.registry.register(_EngineMetrics())

    def introduce(self, model: str) -> None:
        """From now on what is counted of the model stands at zero."""
        for counter, labels in self._counters:
            if labels.get("model") == _MODEL:
                _start_at_zero(counter, {**labels, "model": (model,)})

    def _counter(self, name: str, text: str, **labels: Values) -> Counter:
        self.definitions.append(Definition(name, "counter", text, labels))
        counter = Counter(name, text, tuple(labels), registry=self.registry)
        self._counters.append((counter, labels))
        _start_at_zero(counter, labels)
        return counter

    def _gauge(self, name: str, text: str, **labels: Values) -> Gauge:
        self.definitions.append(Definition(name, "gauge", text, labels))
        return Gauge(name, text, tuple(labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], **labels: Values) -> Histogram:
        self.definitions.append(Definition(name, "histogram", text, labels, buckets))
        return Histogram(name, text, tuple(labels), registry=self.registry, buckets=buckets)

    def _add_http(self) -> None:
        labels: dict[str, Values] = {
            "route": "path templates of the API; unmatched",
            "method": (*METHODS, "other"),
            "status": ("1xx", "2xx", "3xx", "4xx", "5xx"),
        }
        self.http_requests = self._counter("demur_http_requests_total", "HTTP requests.", **labels)
        self.http_seconds = self._histogram(
            "demur_http_request_duration_seconds", "Time to the full response.", _SECONDS, **labels
        )

    def _add_answers(self) -> None:
        self.answers = self._counter(
            "demur_answers_total",
            "Decisions.",
            model=_MODEL,
            quality=("fast", "balanced", "thorough"),
            decision=_DECISION,
            reason=tuple(Reason),
        )
        self.phase_seconds = self._histogram(
            "demur_phase_duration_seconds",
            "Time per phase; `nli_hidden` is the part of `generate` in which entailment ran too.",
            _PHASE_SECONDS,
            phase=("queue", "cache", "generate", "nli", "nli_hidden", "decide"),
        )
        self.samples = self._counter(
            "demur_samples_total",
            "Samples by what became of them; `saved`: not drawn, as enough had landed, the T=0 answer would do, or an "
            "answer was remembered.",
            model=_MODEL,
            outcome=("ok", "truncated", "error", "cancelled", "saved"),
        )
        self.tokens = self._counter("demur_tokens_total", "Tokens.", model=_MODEL, kind=("prompt", "completion"))
        self.unscored = self._counter(
            "demur_unscored_total",
            "Chat completions that were handed on to the model's server unscored.",
            reason="what kept them from being scored, such as tools or images; one of a fixed list",
        )
        self.degraded = self._counter(
            "demur_degraded_total", "Answers with a missing or weakened signal.", reason=tuple(Degradation)
        )

    def _add_signals(self) -> None:
        """A signal that is missing is not observed: it must not pass for 0."""
        self.entropy = self._histogram(
            "demur_semantic_entropy_nats",
            "Entropy over meanings; the bucket at 0 is unanimity.",
            _NATS,
            model=_MODEL,
            estimator=("discrete", "weighted"),
        )
        self.entropy_normalized = self._histogram(
            "demur_semantic_entropy_normalized_ratio",
            "Entropy over meanings as a share of what as many samples can have at most.",
            _RATIO,
            model=_MODEL,
        )
        self.confidence = self._histogram(
            "demur_confidence_ratio", "Confidence.", _RATIO, model=_MODEL, decision=_DECISION
        )
        self.token_confidence = self._histogram(
            "demur_token_confidence_ratio", "Mean token probability.", _RATIO, model=_MODEL
        )
        self.cluster_mass = self._histogram(
            "demur_cluster_mass_ratio", "Probability of the heaviest meaning.", _RATIO, model=_MODEL
        )
        self.groundedness = self._histogram(
            "demur_groundedness_ratio", "Entailment by the passages.", _RATIO, model=_MODEL
        )
        self.clusters = self._histogram("demur_clusters", "Meanings per answer.", _CLUSTERS, model=_MODEL)

    def _add_labels(self) -> None:
        """What people and graders say about answers, and how far confidence keeps its word (engine/reliability.py)."""
        self.feedback = self._counter(
            "demur_feedback_total", "Feedback kept.", model=_MODEL, decision=_DECISION, label=_WORD, source=_SOURCE
        )
        self.confidence_bins = self._counter(
            "demur_confidence_bin_total",
            "Labelled answers by confidence, for a reliability diagram. `bin`: upper edge; 0 belongs to the first.",
            model=_MODEL,
            bin=_BIN,
            label=("correct", "incorrect", "partial"),
            source=_SOURCE,
            calibrated=("true", "false"),
        )
        self.calibration_ece = self._gauge(
            "demur_calibration_ece_ratio",
            "Expected calibration error, ten bins, of the last audits of answers under calibrations in force.",
            model=_MODEL,
        )
        self.calibration_brier = self._gauge("demur_calibration_brier_ratio", "Brier score of the same.", model=_MODEL)
        self.calibration_auroc = self._gauge(
            "demur_calibration_auroc_ratio",
            "AUROC of the same: how well confidence tells right from wrong.",
            model=_MODEL,
        )
        self.calibration_labels = self._gauge(
            "demur_calibration_labels", "Labels behind these three figures.", model=_MODEL
        )
        self.calibration_fitted = self._gauge(
            "demur_calibration_fitted_timestamp_seconds",
            "When the calibration profile of the last calibrated answer was fitted.",
            model=_MODEL,
        )
        self.calibration_suspended = self._gauge(
            "demur_calibration_suspended_certificates",
            "Promises of calibrations in force that audits have refuted.",
            model=_MODEL,
        )

    def _add_entailment(self) -> None:
        self.nli_pairs = self._counter(
            "demur_nli_pairs_total",
            "Directed pairs, by where the verdict came from.",
            source=("model", "cache", "identical"),
        )
        self.nli_speculative_pairs = self._counter(
            "demur_nli_speculative_pairs_total",
            "Directed pairs that the model was asked while samples were drawn, and that were not needed in the end.",
        )
        self.nli_batch_pairs = self._histogram("demur_nli_batch_pairs", "Pairs per batch.", _PAIRS)
        self.nli_batch_tokens = self._histogram("demur_nli_batch_tokens", "Padded tokens per batch.", _TOKENS)
        self.nli_batch_seconds = self._histogram(
            "demur_nli_batch_duration_seconds", "Model time per batch.", _PHASE_SECONDS
        )
        self.nli_queue_seconds = self._histogram(
            "demur_nli_queue_duration_seconds", "Wait of a pair for its batch.", _PHASE_SECONDS
        )
        self.nli_queue_pairs = self._gauge("demur_nli_queue_pairs", "Pairs waiting for a batch.")

    def _add_backend(self) -> None:
        self.backend_requests = self._counter(
            "demur_backend_requests_total",
            "Calls to language model servers.",
            backend=_BACKEND,
            outcome=("ok", "busy", "refused", "failed", "timeout", "unreachable", "broken", "cancelled"),
        )
        self.backend_seconds = self._histogram(
            "demur_backend_request_duration_seconds",
            "Time of a call, its retries included.",
            _SECONDS,
            backend=_BACKEND,
        )
        self.backend_retries = self._counter("demur_backend_retries_total", "Repeated calls.", backend=_BACKEND)
        self.backend_circuit_open = self._gauge(
            "demur_backend_circuit_open", "1 while a server is avoided because it failed.", backend=_BACKEND
        )
        self.backend_inflight = self._gauge("demur_backend_inflight", "Calls under way.", backend=_BACKEND)

    def _add_store(self) -> None:
        self.store_writes = self._counter(
            "demur_store_writes_total",
            "Records to keep, by what became of them.",
            record=("answer", "feedback"),
            outcome=("ok", StoreUnavailable.code, StoreFull.code),
        )

    def _add_cache(self) -> None:
        self.cache_requests = self._counter(
            "demur_cache_requests_total",
            "Look-ups of remembered answers, in this process or shared; stale: written by another version.",
            tier=("local", "shared"),
            result=("hit", "miss", "stale", "error", "bypass"),
        )
        self.single_flights = self._counter(
            "demur_singleflight_total",
            "How requests came by an answer that was not remembered: led the work, alone, joined it in this process, "
            "shared it with another replica; remembered: just then.",
            result=("led", "alone", "joined", "shared", "remembered"),
        )
        self.nli_shared_pairs = self._counter(
            "demur_nli_shared_pairs_total", "Verdicts looked up in Redis.", result=("hit", "miss", "error")
        )

    def _add_load(self) -> None:
        self.inflight = self._gauge("demur_inflight_requests", "Answers being worked on.")
        self.queued = self._gauge("demur_queued_requests", "Answers waiting for a place.")
        self.rejected = self._counter(
            "demur_rejected_total", "Requests refused.", reason=(Overloaded.code, Draining.code)
        )
        self.rate_limited = self._counter(
            "demur_ratelimited_total", "Requests beyond a key's rate.", limit=("requests", "samples")
        )
        self.rate_limit_local = self._gauge(
            "demur_ratelimit_local", "1 while Redis is away and each process counts for itself."
        )
        self.ready = self._gauge("demur_ready", "1 when the service takes requests.")
        self.build_info = self._gauge("demur_build_info", "Version.", version="the version that runs")
        self.model_info = self._gauge("demur_model_info", "Models in use.", role=("sampler", "nli"), model=_MODEL)


def _start_at_zero(counter: Counter, labels: dict[str, Values]) -> None:
    """Where all labels are known: a series that is born with its first increase hides it from `rate`."""
    known = [values for values in labels.values() if isinstance(values, tuple)]
    if labels and len(known) == len(labels):
        for each in itertools.product(*known):
            counter.labels(*each)


class _EngineMetrics(Collector):
    def collect(self) -> Iterator[Metric]:
        return (metric for metric in REGISTRY.collect() if metric.name.startswith("vllm:"))
