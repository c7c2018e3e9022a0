"""What a stream tells of an answer while it comes about; reading it needs no I/O, so that both clients share it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
from pydantic import ValidationError

from demur_client._errors import APIConnectionError, APIResponseError, problem_error
from demur_client._models import AnswerResult, Model


class StartEvent(Model):
    """The work has begun: `n` samples are wanted, for the answer that will have this `id`."""

    type: Literal["start"] = "start"
    id: str
    n: int


class SampleEvent(Model):
    """A sample is finished. The T=0 answer comes with the result."""

    type: Literal["sample"] = "sample"
    index: int
    text: str
    finish_reason: str


class ProgressEvent(Model):
    """The meanings so far, which may merge: that of sample i is `assignments[i]`, None while it is not finished."""

    type: Literal["progress"] = "progress"
    completed: int
    num_clusters: int
    semantic_entropy: float
    assignments: list[int | None]


class ResultEvent(Model):
    """What `answer` would have returned."""

    type: Literal["result"] = "result"
    result: AnswerResult


class UnknownEvent(Model):
    """What a newer service tells beside."""

    type: str
    data: dict[str, Any]


AnswerEvent = StartEvent | SampleEvent | ProgressEvent | ResultEvent | UnknownEvent

_KNOWN: Mapping[str, type[StartEvent | SampleEvent | ProgressEvent]] = {
    "start": StartEvent,
    "sample": SampleEvent,
    "progress": ProgressEvent,
}


@dataclass(slots=True)
class EventReader:
    """Makes events out of a stream (WHATWG, server-sent events). Raises: APIResponseError where it is something else.

    Lines end with a line feed: what httpx2 takes for the end of one may stand within a JSON text.
    """

    response: httpx2.Response
    is_done: bool = False
    _rest: bytes = b""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        kind = self.response.headers.get("content-type", "nothing")
        if not kind.startswith("text/event-stream"):
            raise APIResponseError(f"{self.response.url} answered with {kind} instead of events")

    def read(self, chunk: bytes) -> Iterator[AnswerEvent]:
        """The events that this chunk completes. Raises: APIStatusError that was told, APIResponseError."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._line(line.rstrip(b"\r").decode("utf-8", "replace"))

    def _line(self, line: str) -> Iterator[AnswerEvent]:
        if not line:
            name, text = self._name, "\n".join(self._data)
            self._name, self._data = "", []
            if name and text:
                yield from self._event(name, text)
            return
        kind, _, value = line.partition(":")
        if kind == "event":
            self._name = value.removeprefix(" ")
        elif kind == "data":
            self._data.append(value.removeprefix(" "))

    def end(self) -> None:
        """Raises: APIConnectionError where the stream broke off."""
        if not self.is_done:
            raise APIConnectionError(f"the stream of {self.response.url} broke off")

    def _event(self, name: str, text: str) -> Iterator[AnswerEvent]:
        try:
            data: Any = json.loads(text)
            if name == "error":
                raise problem_error(self.response, data)
            if name == "done":
                self.is_done = True
            elif name == "result":
                yield ResultEvent(result=AnswerResult.model_validate(data))
            elif name in _KNOWN:
                yield _KNOWN[name].model_validate(data)
            else:
                yield UnknownEvent(type=name, data=data)
        except (ValueError, TypeError, AttributeError, ValidationError) as error:
            raise APIResponseError(f"{self.response.url} did not tell events as Demur does: {text[:200]!r}") from error
