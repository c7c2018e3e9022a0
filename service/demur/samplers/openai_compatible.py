"""A language model behind any OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, OpenAI."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from demur.errors import BackendError, DemurError
from demur.samplers.base import OnText
from demur.samplers.cache_salt import CacheSalt
from demur.samplers.capabilities import Ask, Capabilities, probe
from demur.samplers.dialect import Dialect
from demur.samplers.draws import cancel_all, graver
from demur.samplers.endpoints import Endpoints
from demur.samplers.refusals import Refusal
from demur.samplers.replies import Choice, Reply, read_document
from demur.types import LogprobSource, Message, Sample, Sampling

logger = logging.getLogger(__name__)

_CLOSED = "the connection to the language model's server has been closed"
_N_SEEDS = 2**31


@dataclass(frozen=True, slots=True)
class _Draw:
    """Samples `first` ... `first` + n - 1 in one request, or the greedy answer."""

    ask: Ask
    first: int = 0

    @property
    def is_greedy(self) -> bool:
        return self.ask.temperature == 0.0


class OpenAISampler:
    """Draws by HTTP: the greedy answer in one request, the samples in one (`n`) where the server honours that, which
    then arrive together; else in one request each, with seeds `seed`, `seed` + 1, ...

    What the server can do is probed before the first draw, and corrected when an answer contradicts it. Logprobs are
    `raw` where the probe has measured that temperature does not change them. What the server does not give is None.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        model: str,
        api: Literal["auto", "chat", "completions"] = "auto",
        use_n: Literal["auto", "yes", "no"] = "auto",
        logprobs: Literal["auto", "raw", "processed", "off"] = "auto",
        salt: CacheSalt | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._dialect = Dialect(endpoints, model=model, api=api, wants_logprobs=logprobs != "off")
        self._model = model
        self._use_n = use_n
        self._logprobs = logprobs
        self._salt = salt or CacheSalt()
        self._capabilities: Capabilities | None = None
        self._probing = asyncio.Lock()
        self._running: set[asyncio.Task[Reply]] = set()
        self._is_closed = False

    @property
    def model(self) -> str:
        return self._model

    @property
    def capabilities(self) -> Capabilities | None:
        """None before the probe."""
        return self._capabilities

    @property
    def refused_fields(self) -> frozenset[str]:
        return self._dialect.refused

    @property
    def api(self) -> Literal["chat", "completions"]:
        return self._dialect.api

    async def probe(self) -> Capabilities:
        """Find out what the server can do, once.

        Raises: BackendUnavailable (try again later), BackendError (a wrong URL, key or model name).
        """
        async with self._probing:
            if self._capabilities is None:
                try:
                    found = await probe(self._dialect.ask)
                except Refusal as refusal:
                    raise refusal.to_error(self._model, 0) from refusal
                self._capabilities = found
                logger.info("the language model's server: %s; refused fields: %s", found, sorted(self._dialect.refused))
        return self._capabilities

    async def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: OnText | None = None
    ) -> AsyncGenerator[Sample, None]:
        if self._is_closed:
            raise BackendError(_CLOSED)
        known = await self.probe()
        base = random.randrange(_N_SEEDS) if sampling.seed is None else sampling.seed
        plan = self._plan(tuple(messages), sampling, base, known)
        running = {self._start(draw, on_text if draw.is_greedy else None): draw for draw in plan}
        failure: DemurError = BackendError("the language model's server gave no answer")
        n_drawn = 0
        try:
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task, draw in [(task, running.pop(task)) for task in done]:
                    try:
                        samples = self._samples(draw, self._result(task, draw))
                    except DemurError as error:
                        failure = graver(failure, error)
                        continue
                    for sample in samples:
                        n_drawn += 1
                        yield sample
                    for rest in self._missing(draw, len(samples), base):
                        running[self._start(rest)] = rest
        finally:
            await cancel_all(running)
        if n_drawn == 0:
            raise failure

    async def forward(self, body: Mapping[str, Any], cache_scope: str | None) -> dict[str, Any]:
        """See `samplers.base.Forwarder`."""
        body = await self._forwarded(body, cache_scope)
        try:
            return read_document(await self._dialect.forward(body))
        except Refusal as refusal:
            raise refusal.to_forwarded(self._model) from refusal

    async def forward_stream(
        self, body: Mapping[str, Any], cache_scope: str | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """See `samplers.base.Forwarder`."""
        is_finished = False
        try:
            async with aclosing(self._dialect.forward_stream(await self._forwarded(body, cache_scope))) as chunks:
                async for chunk in chunks:
                    is_finished = is_finished or _is_last(chunk)
                    yield chunk
        except Refusal as refusal:
            raise refusal.to_forwarded(self._model) from refusal
        if not is_finished:
            raise BackendError("the language model's server broke off its answer")

    async def _forwarded(self, body: Mapping[str, Any], cache_scope: str | None) -> dict[str, Any]:
        """Once it is known what the server is. What sets prefix caches apart is ours to say."""
        if self._is_closed:
            raise BackendError(_CLOSED)
        await self.probe()
        salt = self._salt.of(cache_scope)
        return {**body} if salt is None else {**body, "cache_salt": salt}

    async def aclose(self) -> None:
        self._is_closed = True
        await cancel_all(self._running)
        await self._endpoints.aclose()

    def _plan(self, messages: tuple[Message, ...], sampling: Sampling, base: int, known: Capabilities) -> list[_Draw]:
        together = _Draw(Ask.of(messages, sampling, n=sampling.n, cache_salt=self._salt.of(sampling.cache_scope)))
        in_one = self._use_n == "yes" or (self._use_n == "auto" and known.has_n)
        samples = [together] if in_one and sampling.n else _singly(together, 0, base)
        has_greedy = known.has_greedy and sampling.with_greedy
        return [*([_Draw(together.ask.greedy())] if has_greedy else []), *samples]

    def _missing(self, draw: _Draw, n_got: int, base: int) -> list[_Draw]:
        """A server that gave fewer than asked ignores `n`, or caps it: the others are drawn one by one."""
        if draw.is_greedy or n_got >= draw.ask.n or draw.ask.n == 1:
            return []
        if self._capabilities and n_got <= 1:
            self._capabilities = replace(self._capabilities, has_n=False)
        return _singly(draw, n_got, base)

    def _start(self, draw: _Draw, on_text: OnText | None = None) -> asyncio.Task[Reply]:
        return self._owned(self._dialect.ask(draw.ask, on_text))

    def _owned(self, work: Coroutine[Any, Any, Reply]) -> asyncio.Task[Reply]:
        """A task that `sample` awaits or cancels, and `aclose` cancels."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _result(self, task: asyncio.Task[Reply], draw: _Draw) -> Reply:
        """Raises: DemurError."""
        if task.cancelled():
            raise BackendError(_CLOSED)
        try:
            return task.result()
        except Refusal as refusal:
            raise refusal.to_error(self._model, draw.ask.max_tokens) from refusal

    def _samples(self, draw: _Draw, reply: Reply) -> list[Sample]:
        if not reply.choices:
            raise BackendError("the language model's server withheld the answer")
        return [
            self._sample(choice, reply, draw, draw.first + offset)
            for offset, choice in enumerate(reply.choices[: draw.ask.n])
        ]

    def _sample(self, choice: Choice, reply: Reply, draw: _Draw, index: int) -> Sample:
        source = self._source()
        # At T=0 processed logprobs are those of a choice already made: 0 for every token, whatever the model thought.
        is_scored = choice.logprobs is not None and not (draw.is_greedy and source == "processed")
        return Sample(
            text=choice.text,
            index=index,
            finish_reason=choice.finish_reason,
            tokens=choice.tokens if is_scored else None,
            token_logprobs=choice.logprobs if is_scored else None,
            logprob_source=source if is_scored else "unknown",
            is_greedy=draw.is_greedy,
            n_prompt_tokens=reply.n_prompt_tokens,
            n_completion_tokens=choice.n_tokens,
            has_own_count=choice.has_own_count,
        )

    def _source(self) -> LogprobSource:
        if self._logprobs in ("raw", "processed"):
            return self._logprobs
        return self._capabilities.logprob_source if self._capabilities else "unknown"


def _is_last(chunk: Mapping[str, Any]) -> bool:
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(isinstance(c, dict) and c.get("finish_reason") for c in choices)


def _singly(together: _Draw, n_got: int, base: int) -> list[_Draw]:
    return [
        _Draw(replace(together.ask, n=1, seed=(base + index) % _N_SEEDS), index)
        for index in range(together.first + n_got, together.first + together.ask.n)
    ]
