"""A chat completion in chunks. The verdict is in the last one, whichever that is: clients that take the first choice of
every chunk must find one in each, but for the one that carries the usage they asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from pydantic import RootModel

from demur.api.chat_requests import ChatRequest
from demur.api.chat_responses import ChatCompletion
from demur.api.streaming import EventStream, Tell
from demur.engine.answering import Answering
from demur.engine.events import Begun, Event
from demur.engine.forwarding import Forwarding, Unscored
from demur.errors import BackendError
from demur.types import Answered, Question

Chunk = RootModel[dict[str, Any]]
CHUNKS_IN_OPENAPI: dict[str, Any] = {
    "schema": {
        "type": "string",
        "description": "With `stream`: server-sent events as OpenAI sends them, the verdict in the last chunk before "
        "`[DONE]`. Where something goes wrong on the way, the last one is an `error`.",
    }
}
_DONE = Chunk({})


class ChunkStream(EventStream):
    """Events without names, and `[DONE]` after them: how OpenAI's clients expect a stream."""

    def message(self, name: str, data: str) -> bytes:
        return b"data: [DONE]\n\n" if name == "done" else f"data: {data}\n\n".encode()


def live(
    question: Question,
    asked: ChatRequest,
    model: str,
    answering: Answering,
    shown: Callable[[Answered], ChatCompletion],
) -> ChunkStream:
    """The T=0 answer while it is written, the samples drawn beside it, and then the verdict on it."""

    async def work(tell: Tell) -> None:
        writer = _Writer(tell, asked, model)
        answered = await answering.answer(question, writer.listen, writer.hear)
        writer.end(shown(answered))

    return ChunkStream(work)


def buffered(found: ChatCompletion, asked: ChatRequest, headers: dict[str, str]) -> ChunkStream:
    """A completion that is there already, in pieces."""

    async def work(tell: Tell) -> None:
        writer = _Writer(tell, asked, found.model)
        writer.begin(found.id, found.created)
        writer.end(found)

    stream = ChunkStream(work)
    stream.headers.update(headers)
    return stream


def handed_on(wanted: Unscored, forwarding: Forwarding) -> ChunkStream:
    """The chunks of the language model's server as they come; each says why there is no verdict."""

    async def work(tell: Tell) -> None:
        async with aclosing(forwarding.stream(wanted)) as chunks:
            async for chunk in chunks:
                tell("chunk", Chunk(chunk | {"uncertainty": None, "uncertainty_skipped": wanted.reason}))
        tell("done", _DONE)

    stream = ChunkStream(work)
    stream.headers["X-Demur-Skipped"] = wanted.reason
    return stream


class _Writer:
    """Tells a completion choice by choice, of the first what is new in each text that is heard."""

    def __init__(self, tell: Tell, asked: ChatRequest, model: str) -> None:
        self._tell = tell
        self._model = model
        self._wants_usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self._head: dict[str, Any] = {}
        self._said = ""
        self._has_begun = False

    def begin(self, id_: str, created: int) -> None:
        self._head = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": self._model}

    def listen(self, event: Event) -> None:
        """What the answer will be called."""
        if isinstance(event, Begun):
            self.begin(event.answer_id, int(datetime.now(UTC).timestamp()))

    def hear(self, text: str) -> None:
        """All of the first choice so far."""
        if text != self._said:
            self._open(0)
            self._chunk(0, {"content": text.removeprefix(self._said)})
            self._said = text

    def end(self, found: ChatCompletion) -> None:
        """Raises: BackendError, where another answer than the one that was heard came of it."""
        first = found.choices[0].message.content
        if self._said and not (isinstance(first, str) and first.startswith(self._said)):
            raise BackendError("the language model broke off the answer that was being streamed")
        for choice in found.choices:
            self._open(choice.index)
            text = choice.message.content
            for piece in _pieces(text.removeprefix(self._said) if isinstance(text, str) else ""):
                self._chunk(choice.index, {"content": piece})
            self._said = ""
        self._finish(found)

    def _open(self, index: int) -> None:
        if index or not self._has_begun:
            self._chunk(index, {"role": "assistant", "content": ""})
        self._has_begun = True

    def _finish(self, found: ChatCompletion) -> None:
        told = found.model_dump(mode="json")
        verdict = {"uncertainty": told["uncertainty"]}
        *others, last = told["choices"]
        for choice in others:
            self._chunk(choice["index"], {}, choice)
        self._chunk(last["index"], {}, last, **({} if self._wants_usage else verdict))
        if self._wants_usage:
            self._tell("chunk", Chunk({**self._head, "choices": [], "usage": told["usage"], **verdict}))
        self._tell("done", _DONE)

    def _chunk(self, index: int, delta: dict[str, Any], ended: dict[str, Any] | None = None, **more: Any) -> None:
        finished = {name: ended[name] if ended else None for name in ("finish_reason", "logprobs")}
        usage = {"usage": None} if self._wants_usage else {}
        choice = {"index": index, "delta": delta, **finished}
        self._tell("chunk", Chunk({**self._head, "choices": [choice], **usage, **more}))


def _pieces(text: str) -> list[str]:
    """Word by word."""
    return re.findall(r"\s*\S+\s*", text)
