"""Spans by OpenTelemetry, sent by OTLP (http/protobuf). The extra `otel` brings what is imported here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from demur import __version__
from demur.errors import DemurError, InvalidRequest
from demur.observability.tracing import Attribute, Trail

_FLUSH_SECONDS = 5
_W3C = TraceContextTextMapPropagator()


class OtelSpan:
    """A span as the rest of the service knows it."""

    def __init__(self, inner: trace.Span, *, has_text: bool) -> None:
        self._inner = inner
        self.is_recording = inner.is_recording()
        self.has_text = has_text and self.is_recording

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        self._inner.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def fail(self, error: BaseException) -> None:
        """By the error's code alone: what it says may quote the question."""
        self._inner.set_attribute("error.type", error.code if isinstance(error, DemurError) else type(error).__name__)
        if not isinstance(error, InvalidRequest):  # a caller's mistake is no failure of ours
            self._inner.set_status(Status(StatusCode.ERROR))


class OtelTracer:
    """Hands finished spans to `exporter`, in batches, on a thread of its own.

    By default to the collector that the standard OTEL_* variables name; sampling, limits and batches follow them, too.
    `has_text`: questions and answers stand in the spans.
    """

    def __init__(self, exporter: SpanExporter | None = None, *, has_text: bool = False) -> None:
        self._exporter = exporter or OTLPSpanExporter()
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("demur", __version__)
        self._has_text = has_text

    @contextmanager
    def span(self, name: str, trail: Trail, *, is_call: bool) -> Iterator[OtelSpan]:
        is_outermost, trail.has_span = not trail.has_span, True
        kind = SpanKind.CLIENT if is_call else SpanKind.SERVER if is_outermost else SpanKind.INTERNAL
        # An instrumented server around us may have opened one already.
        has_parent = trace.get_current_span().get_span_context().is_valid
        parent = None if has_parent else _W3C.extract(trail.caller)
        with self._tracer.start_as_current_span(
            name, parent, kind, record_exception=False, set_status_on_exception=False
        ) as inner:
            if is_outermost:
                _tell(trail, inner)
            opened = OtelSpan(inner, has_text=self._has_text)
            try:
                yield opened
            except BaseException as error:  # a cancellation, too, is how the work ended
                opened.fail(error)
                raise

    def headers(self) -> dict[str, str]:
        """Of the W3C alone: baggage is the caller's own business, and the server behind may be anybody's."""
        carried: dict[str, str] = {}
        _W3C.inject(carried)
        return carried

    def close(self) -> None:
        """A collector that is away holds nobody up for longer: closed, the exporter gives up."""
        closing = Thread(target=self._provider.shutdown, name="demur-spans", daemon=True)
        closing.start()
        closing.join(_FLUSH_SECONDS)
        if closing.is_alive():
            self._exporter.shutdown()


def _resource() -> Resource:
    found = Resource.create({"service.version": __version__})
    is_named = not str(found.attributes.get("service.name", "")).startswith("unknown_service")
    return found if is_named else found.merge(Resource({"service.name": "demur"}))


def _tell(trail: Trail, outermost: trace.Span) -> None:
    context = outermost.get_span_context()
    trail.trace_id = trace.format_trace_id(context.trace_id)
    trail.is_sampled = context.trace_flags.sampled
