"""Demur in Haystack (extra `haystack`): a chat generator whose replies carry a verdict, and a router by it."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.dataclasses import ChatMessage
from haystack.utils import Secret

from demur_client import AnswerResult, AsyncDemur, Demur
from demur_client._options import MessageOption, PassageOption

VERDICT = "demur"
"""Where the verdict is in `ChatMessage.meta`."""


@component
class UncertaintyChatGenerator:
    """Completes chats; each reply has the verdict, as `/v1/answer` sends it, in `meta["demur"]`.

    `options` are those of `Demur.answer`. With `documents`, even none, the question counts as asked after a retrieval.
    Tools and images cannot be scored: for them point `OpenAIChatGenerator` at the service's `/v1`, which hands them on.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: Secret | None = None,
        timeout: float = 120.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.base_url, self.api_key, self.timeout, self.options = base_url, api_key, timeout, options

    def to_dict(self) -> dict[str, Any]:
        key = self.api_key.to_dict() if self.api_key else None
        return default_to_dict(self, base_url=self.base_url, api_key=key, timeout=self.timeout, options=self.options)  # type: ignore[no-any-return]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> UncertaintyChatGenerator:
        parameters = data["init_parameters"]
        if parameters.get("api_key"):
            parameters["api_key"] = Secret.from_dict(parameters["api_key"])
        return default_from_dict(cls, data)  # type: ignore[no-any-return]

    @component.output_types(replies=list[ChatMessage])
    def run(
        self,
        messages: list[ChatMessage],
        documents: list[Document] | None = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """`generation_kwargs` go before `options`. Raises: ValueError for what is not text; DemurError."""
        with Demur(**self._connection()) as client:
            return _replies(client.answer(**self._asked(messages, documents, generation_kwargs)))

    @component.output_types(replies=list[ChatMessage])
    async def run_async(
        self,
        messages: list[ChatMessage],
        documents: list[Document] | None = None,
        generation_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, list[ChatMessage]]:
        """`run`, without a thread."""
        async with AsyncDemur(**self._connection()) as client:
            return _replies(await client.answer(**self._asked(messages, documents, generation_kwargs)))

    def _connection(self) -> dict[str, Any]:
        key = self.api_key.resolve_value() if self.api_key else None
        return {"base_url": self.base_url, "api_key": key, "timeout": self.timeout}

    def _asked(
        self, messages: list[ChatMessage], documents: list[Document] | None, given: dict[str, Any] | None
    ) -> dict[str, Any]:
        asked = {"messages": [_turn(message) for message in messages], **(self.options or {}), **(given or {})}
        if documents is not None:
            retrieval = {"attempt": 1, **asked.get("retrieval", {})}
            asked |= {"context": [_passage(each) for each in documents if each.content], "retrieval": retrieval}
        return asked


@component
class UncertaintyRouter:
    """Sends replies of UncertaintyChatGenerator on by their decision: to `answer`, `retrieve` or `abstain`.

    A decision that a newer service may know goes to `abstain`.
    """

    @component.output_types(answer=list[ChatMessage], retrieve=list[ChatMessage], abstain=list[ChatMessage])
    def run(self, replies: list[ChatMessage]) -> dict[str, list[ChatMessage]]:
        """Raises ValueError for a reply without a verdict."""
        routed: dict[str, list[ChatMessage]] = {}
        for reply in replies:
            verdict = reply.meta.get(VERDICT)
            if verdict is None:
                raise ValueError(f"a reply has no verdict in meta[{VERDICT!r}]; did UncertaintyChatGenerator make it?")
            decision = verdict["decision"] if verdict["decision"] in ("answer", "retrieve") else "abstain"
            routed.setdefault(decision, []).append(reply)
        return routed


def _turn(message: ChatMessage) -> MessageOption:
    if message.role.value not in ("system", "user", "assistant") or len(message) != 1 or message.text is None:
        raise ValueError("only messages of one text can be scored; see OpenAIChatGenerator for tools and images")
    return {"role": message.role.value, "content": message.text}


def _passage(document: Document) -> PassageOption:
    return {"text": document.content or "", "id": document.id, "score": document.score}


def _replies(result: AnswerResult) -> dict[str, list[ChatMessage]]:
    meta = {
        "model": result.model,
        "index": 0,
        "finish_reason": "stop",
        "usage": result.usage.model_dump(mode="json"),
        VERDICT: result.model_dump(mode="json"),
    }
    return {"replies": [ChatMessage.from_assistant(result.answer or "", meta=meta)]}
