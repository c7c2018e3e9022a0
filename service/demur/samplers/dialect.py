"""Asks for completions in the words that a server understands, and learns the words it refuses."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Literal

from demur.errors import UnsupportedByBackend
from demur.samplers.base import OnText
from demur.samplers.capabilities import Ask
from demur.samplers.chunks import Assembly
from demur.samplers.endpoints import Endpoints
from demur.samplers.refusals import Refusal
from demur.samplers.replies import Reply, read_reply
from demur.samplers.settled import settled
from demur.types import Message

logger = logging.getLogger(__name__)

# Left out where a server refuses them: what they bring is then missing, and shown as missing.
_OPTIONAL = frozenset(
    {
        "n", "seed", "logprobs", "top_logprobs", "top_k", "min_p", "repetition_penalty", "cache_salt", "stream",
        "stream_options",
    }
)  # fmt: skip

_CHAT = "/chat/completions"
_SAMPLING = frozenset({"temperature", "top_p", "stop"})

# Switches off what a model card or a server would filter samples with, where the server knows the words: samples
# come from the distribution that their logprobs describe.
_UNFILTERED = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


class Dialect:
    """Chat completions, or plain ones where the server has no chat ("auto") or they are asked for."""

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        model: str,
        api: Literal["auto", "chat", "completions"] = "auto",
        wants_logprobs: bool = True,
    ) -> None:
        self._endpoints = endpoints
        self._model = model
        self._is_chat = api != "completions"
        self._may_switch = api == "auto"
        self._wants_logprobs = wants_logprobs
        self._refused: frozenset[str] = frozenset()

    @property
    def refused(self) -> frozenset[str]:
        """Fields that the server has refused, and that are no longer sent."""
        return self._refused

    @property
    def api(self) -> Literal["chat", "completions"]:
        return "chat" if self._is_chat else "completions"

    async def ask(self, wanted: Ask, on_text: OnText | None = None) -> Reply:
        """`on_text` hears the text of a single completion grow, where the server streams.

        Raises: Refusal, UnsupportedByBackend, BackendError, BackendUnavailable."""
        refused = self._refused
        while True:
            path, body = self._request(wanted, refused, streams=on_text is not None)
            try:
                if on_text and "stream" in body:
                    content = await self._listen(path, body, wanted, on_text)
                else:
                    content = await self._endpoints.post(path, body)
            except Refusal as refusal:
                if self._switches(path, refusal):
                    continue
                refused = refused | _dropped(refusal, wanted, body)
            else:
                self._learn(refused)
                return read_reply(content)

    async def _listen(self, path: str, body: dict[str, Any], wanted: Ask, on_text: OnText) -> bytes:
        assembly = Assembly(is_chat=path == _CHAT)
        async with aclosing(self._endpoints.stream(path, body)) as chunks:
            async for chunk in chunks:
                assembly.add(chunk)
                on_text(settled(assembly.text, wanted.stop))
        return json.dumps(assembly.completion()).encode()

    async def forward(self, body: Mapping[str, Any]) -> bytes:
        """A chat completion in the caller's own words. Raises: Refusal, as `ask`."""
        return await self._endpoints.post(_CHAT, self._forwarded(body))

    def forward_stream(self, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Its chunks. Raises as `forward`."""
        return self._endpoints.stream(_CHAT, self._forwarded(body))

    def _forwarded(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if not self._is_chat:
            raise UnsupportedByBackend("the language model's server has no chat completions to hand this request on to")
        return {name: value for name, value in body.items() if name != "cache_salt" or name not in self._refused} | {
            "model": self._model
        }

    def _learn(self, refused: frozenset[str]) -> None:
        """Only once a request without the field went through: what else is wrong with a request is not its fault."""
        if new := refused - self._refused:
            logger.warning("the language model's server refuses %s: left out from now on", ", ".join(sorted(new)))
            self._refused |= new

    def _switches(self, path: str, refusal: Refusal) -> bool:
        """Whether to ask again in another way, as another draw may have found out before this one."""
        if self._may_switch and self._is_chat and refusal.has_no_such_endpoint:
            logger.warning("the language model's server has no chat completions (%s): asking for plain ones", refusal)
            self._is_chat, self._may_switch = False, False
        return path != self._path

    @property
    def _path(self) -> str:
        return _CHAT if self._is_chat else "/completions"

    def _request(self, wanted: Ask, refused: frozenset[str], *, streams: bool = False) -> tuple[str, dict[str, Any]]:
        body = {
            **_UNFILTERED,
            **_passed_on(wanted),  # before the rest: it replaces nothing that was asked for
            "model": self._model,
            "temperature": wanted.temperature,
            "top_p": wanted.top_p,
            **({"n": wanted.n} if wanted.n > 1 else {}),
            **({"stop": list(wanted.stop)} if wanted.stop else {}),
            **({} if wanted.seed is None else {"seed": wanted.seed}),
            **({} if wanted.cache_salt is None else {"cache_salt": wanted.cache_salt}),
            **_length(wanted.max_tokens, refused),
            **(_chat_form(wanted.messages) if self._is_chat else _text_form(wanted.messages)),
            **({"stream": True, "stream_options": {"include_usage": True}} if streams else {}),
            **(self._logprobs(wanted.n_top) if self._wants_logprobs and "logprobs" not in refused else {}),
        }
        return self._path, {name: value for name, value in body.items() if name not in refused}

    def _logprobs(self, n_top: int) -> dict[str, Any]:
        """A number of alternatives in plain completions (0 gives none on some servers), a switch in chat."""
        if not self._is_chat:
            return {"logprobs": max(1, n_top)}
        return {"logprobs": True, **({"top_logprobs": n_top} if n_top else {})}


def _chat_form(messages: tuple[Message, ...]) -> Mapping[str, Any]:
    """Few templates know the newer role "developer"; whoever knows it takes "system" for it."""
    roles = {"developer": "system"}
    return {"messages": [{"role": roles.get(m.role, m.role), "content": m.content} for m in messages]}


def _text_form(messages: tuple[Message, ...]) -> Mapping[str, Any]:
    """As the local sampler does for a base model: the contents, line by line."""
    return {"prompt": "\n".join(m.content for m in messages)}


def _passed_on(wanted: Ask) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(wanted.passed_on) if wanted.passed_on else {}
    return fields


def _length(max_tokens: int, refused: frozenset[str]) -> Mapping[str, Any]:
    return {"max_completion_tokens" if "max_tokens" in refused else "max_tokens": max_tokens}


def _dropped(refusal: Refusal, wanted: Ask, body: Mapping[str, Any]) -> frozenset[str]:
    """Fields to ask again without. Raises what the refusal means where there are none."""
    if refusal.status not in (400, 422):
        raise refusal
    if "max_tokens" in body and refusal.asks_for_max_completion_tokens:
        return frozenset({"max_tokens"})
    named = refusal.named_fields(body)
    if dropped := named & (_OPTIONAL | _neutral(wanted)):
        return dropped
    if demanded := named & (_SAMPLING | _passed_on(wanted).keys()):
        fields = ", ".join(f"sampling.{name}" if name in _SAMPLING else name for name in sorted(demanded))
        raise UnsupportedByBackend(f"the model's server refuses {fields}: {refusal.message}") from refusal
    raise refusal


def _neutral(wanted: Ask) -> frozenset[str]:
    """Fields whose value is the one that a server goes by that knows no other."""
    values = {"temperature": wanted.temperature, "top_p": wanted.top_p}
    return frozenset(name for name, value in values.items() if value == 1.0)
