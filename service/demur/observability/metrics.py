"""Every metric of the service, in one file. Labels are bounded: never a prompt, user, key or answer id."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.registry import Collector

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
_PHASE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_NATS = (0, 0.1, 0.25, 0.5, 0.69, 0.9, 1.1, 1.39, 1.61, 2.08, 2.31, 2.78, 3.47)
_RATIO = (*(round(0.05 * k, 2) for k in range(1, 20)), 0.99)
_PAIRS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


class Metrics:
    """One instance per application, on a registry of its own, so that two applications in a process do not clash."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._add_http()
        self._add_answers()
        self._add_entailment()
        self._add_backend()
        self._add_store()
        self._add_cache()
        self._add_load()

    def include_engine(self) -> None:
        """Show the metrics of vLLM's engine, too, which it keeps on the registry of the whole process."""
        self.registry.register(_EngineMetrics())

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _add_http(self) -> None:
        self.http_requests = self._counter("demur_http_requests_total", "HTTP requests.", "route", "method", "status")
        self.http_seconds = self._histogram(
            "demur_http_request_duration_seconds", "Time to the full response.", _SECONDS, "route", "method", "status"
        )

    def _add_answers(self) -> None:
        self.answers = self._counter("demur_answers_total", "Decisions.", "model", "quality", "decision", "reason")
        self.entropy = self._histogram(
            "demur_semantic_entropy_nats", "Entropy over meanings.", _NATS, "model", "estimator"
        )
        self.confidence = self._histogram("demur_confidence_ratio", "Confidence.", _RATIO, "model", "decision")
        self.token_confidence = self._histogram(
            "demur_token_confidence_ratio", "Mean token probability.", _RATIO, "model"
        )
        self.groundedness = self._histogram("demur_groundedness_ratio", "Entailment by the passages.", _RATIO, "model")
        self.clusters = self._histogram(
            "demur_clusters", "Meanings per answer.", (1, 2, 3, 4, 5, 7, 10, 15, 20, 32), "model"
        )
        self.phase_seconds = self._histogram(
            "demur_phase_duration_seconds",
            "Time per phase; `nli_hidden` is the part of `generate` in which entailment ran too.",
            _PHASE_SECONDS,
            "phase",
        )
        self.samples = self._counter("demur_samples_total", "Samples drawn.", "model", "outcome")
        self.tokens = self._counter("demur_tokens_total", "Tokens.", "model", "kind")
        self.unscored = self._counter(
            "demur_unscored_total", "Chat completions that were handed on to the model's server unscored.", "reason"
        )
        self.degraded = self._counter("demur_degraded_total", "Answers with a missing or weakened signal.", "reason")

    def _add_entailment(self) -> None:
        self.nli_pairs = self._counter(
            "demur_nli_pairs_total", "Directed pairs, by where the verdict came from.", "source"
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
        """`backend` is host and port of a configured base URL."""
        self.backend_requests = self._counter(
            "demur_backend_requests_total", "Calls to language model servers.", "backend", "outcome"
        )
        self.backend_seconds = self._histogram(
            "demur_backend_request_duration_seconds", "Time of a call, its retries included.", _SECONDS, "backend"
        )
        self.backend_retries = self._counter("demur_backend_retries_total", "Repeated calls.", "backend")
        self.backend_circuit_open = self._gauge(
            "demur_backend_circuit_open", "1 while a server is avoided because it failed.", "backend"
        )
        self.backend_inflight = self._gauge("demur_backend_inflight", "Calls under way.", "backend")

    def _add_store(self) -> None:
        self.store_writes = self._counter(
            "demur_store_writes_total", "Records to keep, by what became of them.", "record", "outcome"
        )
        self.feedback = self._counter("demur_feedback_total", "Feedback kept.", "model", "label", "source")

    def _add_cache(self) -> None:
        """`tier`: local, shared. Results of look-ups: hit, miss, stale (another schema), error, bypass."""
        self.cache_requests = self._counter(
            "demur_cache_requests_total", "Look-ups of remembered answers.", "tier", "result"
        )
        self.single_flights = self._counter(
            "demur_singleflight_total",
            "How requests came by an answer that was not remembered: led the work, alone, joined it in this process, "
            "shared it with another replica; remembered: just then.",
            "result",
        )
        self.nli_shared_pairs = self._counter(
            "demur_nli_shared_pairs_total", "Verdicts looked up in Redis: hit, miss, error.", "result"
        )

    def _add_load(self) -> None:
        self.inflight = self._gauge("demur_inflight_requests", "Answers being worked on.")
        self.queued = self._gauge("demur_queued_requests", "Answers waiting for a place.")
        self.rejected = self._counter("demur_rejected_total", "Requests refused.", "reason")
        self.rate_limited = self._counter("demur_ratelimited_total", "Requests beyond a key's rate.", "limit")
        self.rate_limit_local = self._gauge(
            "demur_ratelimit_local", "1 while Redis is away and each process counts for itself."
        )
        self.ready = self._gauge("demur_ready", "1 when the service takes requests.")
        self.build_info = self._gauge("demur_build_info", "Version.", "version")
        self.model_info = self._gauge("demur_model_info", "Models in use.", "role", "model")


class _EngineMetrics(Collector):
    def collect(self) -> Iterator[Metric]:
        return (metric for metric in REGISTRY.collect() if metric.name.startswith("vllm:"))
