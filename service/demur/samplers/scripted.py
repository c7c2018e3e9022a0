"""Replays written answers: for tests and load tests only."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from demur.errors import BackendError, ContextLengthExceeded
from demur.samplers.base import OnText
from demur.samplers.settled import first_stop, settled
from demur.types import Message, Sample, Sampling

_CLOSED = "the scripted sampler has been closed"


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """An answer that arrives `delay_seconds` after the request, or with `error` a draw that fails then.

    A token is a word with the blanks before it; `token_logprobs` gives one number per word, in nats, or none at all.
    """

    text: str = ""
    token_logprobs: tuple[float, ...] | None = None
    delay_seconds: float = 0.0
    error: str | None = None

    def __post_init__(self) -> None:
        if self.token_logprobs is not None and len(self.token_logprobs) != len(self.tokens):
            raise ValueError(f"{len(self.tokens)} tokens in {self.text!r}, but logprobs {self.token_logprobs}")

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(_tokens(self.text))


Script = Mapping[str, Sequence[ScriptedAnswer | str]] | Callable[[str, Sampling], Sequence[ScriptedAnswer | str]]


class ScriptedSampler:
    """Answers a question (the last user message) from its list: the first entry is the greedy answer, the others are
    the samples in turn, repeated as often as needed; a single entry is all of them.

    The seed, temperature and top-p change nothing. `max_tokens`, stop strings and `context_length` count words.
    The counters say what became of the draws: those begun are finished, failed, cancelled or still running.
    """

    def __init__(self, script: Script, *, model: str = "scripted", context_length: int = 100_000) -> None:
        self._answers = script if callable(script) else _look_up(script)
        self._model = model
        self._context_length = context_length
        self._closed = asyncio.Event()
        self.n_started = self.n_finished = self.n_failed = self.n_cancelled = 0

    @property
    def model(self) -> str:
        return self._model

    @property
    def n_running(self) -> int:
        return self.n_started - self.n_finished - self.n_failed - self.n_cancelled

    async def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: OnText | None = None
    ) -> AsyncGenerator[Sample, None]:
        n_prompt = sum(len(_tokens(m.content)) for m in messages)
        if n_prompt >= self._context_length:
            raise ContextLengthExceeded(n_tokens=n_prompt, max_tokens=sampling.max_tokens, limit=self._context_length)
        begun, waiting, n_answers, failure = time.monotonic(), self._draws(messages, sampling), 0, _CLOSED
        self.n_started += len(waiting)
        try:
            while waiting and await self._is_due(begun + waiting[0][1].delay_seconds):
                place, answer = waiting.pop(0)
                if answer.error is None:
                    n_answers += 1
                    self.n_finished += 1
                    sample = _to_sample(answer, place, sampling, n_prompt)
                    if on_text and sample.is_greedy:
                        _write(sample.text, on_text)
                    yield sample
                else:
                    self.n_failed += 1
                    failure = answer.error
        finally:
            self.n_cancelled += len(waiting)
        if n_answers == 0:
            raise BackendError(failure)

    async def aclose(self) -> None:
        self._closed.set()

    def _draws(self, messages: Sequence[Message], sampling: Sampling) -> list[tuple[int, ScriptedAnswer]]:
        """Place 0 is the greedy draw, place i + 1 is sample i; in order of arrival."""
        question = next(m.content for m in reversed(messages) if m.role == "user")
        written = [_to_answer(entry) for entry in self._answers(question, sampling)]
        others = written[1:] or written
        draws = [written[0], *(others[i % len(others)] for i in range(sampling.n))]
        wanted = list(enumerate(draws))[0 if sampling.with_greedy else 1 :]
        return sorted(wanted, key=lambda draw: draw[1].delay_seconds)

    async def _is_due(self, moment: float) -> bool:
        """Wait until then; False where the sampler is closed before."""
        with anyio.move_on_after(max(0.0, moment - time.monotonic())):
            await self._closed.wait()
        return not self._closed.is_set()


def _look_up(
    script: Mapping[str, Sequence[ScriptedAnswer | str]],
) -> Callable[[str, Sampling], Sequence[ScriptedAnswer | str]]:
    def answers(question: str, sampling: Sampling) -> Sequence[ScriptedAnswer | str]:
        if not script.get(question):
            raise BackendError(f"the script has no answer to {question!r}")
        return script[question]

    return answers


def _to_answer(entry: ScriptedAnswer | str) -> ScriptedAnswer:
    return ScriptedAnswer(entry) if isinstance(entry, str) else entry


def _to_sample(answer: ScriptedAnswer, place: int, sampling: Sampling, n_prompt: int) -> Sample:
    """Cut at `max_tokens` words and at the first stop string; tokens and logprobs stay as drawn up to the cut."""
    n_tokens = _n_drawn(answer.tokens, sampling)
    text = "".join(answer.tokens[:n_tokens])
    stop_at = first_stop(text, sampling.stop)
    is_cut = stop_at is None and n_tokens < len(answer.tokens)
    return Sample(
        text=text[:stop_at],
        index=max(0, place - 1),
        finish_reason="length" if is_cut else "stop",
        tokens=None if answer.token_logprobs is None else answer.tokens[:n_tokens],
        token_logprobs=None if answer.token_logprobs is None else answer.token_logprobs[:n_tokens],
        logprob_source="unknown" if answer.token_logprobs is None else "raw",
        is_greedy=place == 0,
        n_prompt_tokens=n_prompt,
        n_completion_tokens=n_tokens,
    )


def _write(text: str, on_text: OnText) -> None:
    """Word by word."""
    words = _tokens(text)
    for n in range(1, len(words) + 1):
        on_text(settled("".join(words[:n])))


def _n_drawn(tokens: Sequence[str], sampling: Sampling) -> int:
    """Tokens up to `max_tokens`, or up to the one that completes a stop string."""
    for n in range(1, min(len(tokens), sampling.max_tokens) + 1):
        if first_stop("".join(tokens[:n]), sampling.stop) is not None:
            return n
    return min(len(tokens), sampling.max_tokens)


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+(?:\s+$)?|\s+", text)
