"""Where a request stands in its trace: ids for logs and exemplars, headers for servers behind this one, spans.

The trail of a request travels in a context variable, into every task that works for it, so that nothing has to be
handed through the engine. Without OpenTelemetry (observability/otel.py) there are no spans, and the caller's trace, if
there is one, is followed and passed on all the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from demur.settings import TracingVariables

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

# https://www.w3.org/TR/trace-context: version, trace id, span id, flags; 0 and version ff are void.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
_MAX_STATE = 512

Attribute = str | bool | int | float | tuple[str, ...]


class Span(Protocol):
    """A piece of work in a trace. `has_text`: questions and answers may stand in it."""

    @property
    def is_recording(self) -> bool: ...

    @property
    def has_text(self) -> bool: ...

    def set(self, attributes: Mapping[str, Attribute | None]) -> None:
        """Add attributes; one that is None is left out."""


class Tracer(Protocol):
    """Makes spans. One that is opened inside another is its child, across tasks too."""

    def span(self, name: str, trail: Trail, *, is_call: bool) -> AbstractContextManager[Span]:
        """The outermost one is the child of the caller's, and tells `trail` its ids. A failure is noted in the span."""

    def headers(self) -> Mapping[str, str]:
        """`traceparent` and `tracestate` of the span that is open; none where none is."""

    def close(self) -> None:
        """Send what has not been sent, within seconds; blocks."""


@dataclass(slots=True)
class Trail:
    """Of one request. `trace_id`: 32 hex digits, None while nobody traces it; `caller`: the trace headers it sent."""

    request_id: str
    caller: Mapping[str, str]
    tracer: Tracer | None = None
    trace_id: str | None = None
    is_sampled: bool = False
    has_span: bool = False

    @classmethod
    def of(cls, request_id: str, headers: Mapping[str, str], tracer: Tracer | None) -> Trail:
        """A `traceparent` that is malformed is as good as none (the standard says so)."""
        parent = headers.get("traceparent", "")
        found = _TRACEPARENT.fullmatch(parent)
        if found is None:
            return cls(request_id, {}, tracer)
        state = headers.get("tracestate", "")
        caller = {"traceparent": parent} | ({"tracestate": state} if 0 < len(state) <= _MAX_STATE else {})
        return cls(request_id, caller, tracer, found[1], bool(int(found[2], 16) & 1))


class _NoSpan:
    is_recording = False
    has_text = False

    def set(self, attributes: Mapping[str, Attribute | None]) -> None: ...


_trail: ContextVar[Trail | None] = ContextVar("demur_trail", default=None)
_NO_SPAN: AbstractContextManager[Span] = nullcontext(_NoSpan())


@contextmanager
def following(trail: Trail) -> Iterator[None]:
    """Whatever runs inside, and every task begun there, belongs to the trail."""
    token = _trail.set(trail)
    try:
        yield
    finally:
        _trail.reset(token)


def span(name: str, *, is_call: bool = False) -> AbstractContextManager[Span]:
    """A span of the request under way; one that records nothing where there are no spans. `is_call`: to a model."""
    trail = _trail.get()
    if trail is None or trail.tracer is None:
        return _NO_SPAN
    return trail.tracer.span(name, trail, is_call=is_call)


def ids() -> dict[str, str]:
    """Of the request under way, for its lines in the log."""
    trail = _trail.get()
    if trail is None:
        return {}
    return {"request_id": trail.request_id} | ({"trace_id": trail.trace_id} if trail.trace_id else {})


def exemplar() -> dict[str, str] | None:
    """What links a metric to a trace that was kept; None where there is none."""
    trail = _trail.get()
    if trail is None or not trail.is_sampled or trail.trace_id is None:
        return None
    return {"trace_id": trail.trace_id}


def outgoing() -> Mapping[str, str]:
    """Trace headers for a server behind this one."""
    trail = _trail.get()
    if trail is None:
        return {}
    return (trail.tracer.headers() if trail.tracer else {}) or trail.caller


async def tell_server(request: httpx2.Request) -> None:
    """An event hook of HTTP clients: the server behind learns whose work this is."""
    request.headers.update(outgoing())


def open_tracer(variables: TracingVariables, *, has_text: bool) -> Tracer | None:
    """None where spans are not asked for, or cannot be made; closing is the caller's."""
    if not variables.wants_spans:
        return None
    if variables.protocol != "http/protobuf":
        logger.warning("no spans are sent: they can be by http/protobuf, not by %s", variables.protocol)
        return None
    try:
        from demur.observability.otel import OtelTracer
    except ImportError:
        logger.warning("no spans are sent, although OTEL_EXPORTER_OTLP_* names a collector: pip install 'demur[otel]'")
        return None
    return OtelTracer(has_text=has_text)
