"""The events of a streamed answer, as they are sent; `result` has the body that JSON would have had."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from demur.engine.events import Begun, Event, Grown, Landed
from demur.estimators.semantic_entropy import semantic_entropy


class StartEvent(BaseModel):
    """The work has begun, or the answer is there already."""

    id: str = Field(description="The `id` that the answer will have.")
    n: int = Field(description="Samples wanted.")


class SampleEvent(BaseModel):
    """A sample is finished. The T=0 answer comes with the result."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"]


class ProgressEvent(BaseModel):
    """The meanings so far; two that were not compared yet count as different, so that they may still become one."""

    completed: int = Field(description="Samples that are finished.")
    num_clusters: int
    semantic_entropy: float = Field(description="In nats.")
    assignments: list[int | None] = Field(description="The meaning of each sample; null while it is not finished.")


class DoneEvent(BaseModel):
    """Nothing follows."""


EVENTS: dict[str, type[BaseModel]] = {
    "start": StartEvent,
    "sample": SampleEvent,
    "progress": ProgressEvent,
    "done": DoneEvent,
}


EVENTS_IN_OPENAPI: dict[str, Any] = {
    "schema": {
        "type": "string",
        "description": "Server-sent events, the data of each a JSON document: `start`, then `sample` and `progress` as "
        "samples land, `result` with the body that `application/json` would have, and `done`. Where something goes "
        "wrong on the way, `error` with a problem is the last one. Lines that begin with a colon keep the connection "
        "open.",
    },
    "x-demur-events": {
        **{name: {"$ref": f"#/components/schemas/{model.__name__}"} for name, model in EVENTS.items()},
        "result": {"$ref": "#/components/schemas/AnswerResponse"},
        "error": {"$ref": "#/components/schemas/Problem"},
    },
}


def wire_event(event: Event) -> tuple[str, BaseModel]:
    """Its name and its data."""
    match event:
        case Begun(answer_id, n):
            return "start", StartEvent(id=answer_id, n=n)
        case Landed(sample):
            said = SampleEvent(index=sample.index, text=sample.text, finish_reason=sample.finish_reason)
            return "sample", said
        case Grown():
            return "progress", _progress(event)


def _progress(grown: Grown) -> ProgressEvent:
    clustering = grown.clustering
    return ProgressEvent(
        completed=clustering.n_samples,
        num_clusters=clustering.n_clusters,
        semantic_entropy=semantic_entropy(clustering),
        assignments=list(grown.assignments),
    )
