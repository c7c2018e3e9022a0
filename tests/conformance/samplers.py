"""Shared by the conformance tests of samplers: a script, counted forward passes, and a model asked the plain way."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.samplers.endpoints import Endpoints
from demur.samplers.openai_compatible import OpenAISampler
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.types import Message, Sample, Sampling
from tests.conformance.openai_server import MODEL

FRANCE = [Message("user", "What is the capital of France?")]
PERU = [Message("system", "Answer in one word."), Message("user", "What is the capital of Peru?")]


def scripted_sampler() -> ScriptedSampler:
    paris = ScriptedAnswer("It is Paris, of course.", token_logprobs=(-0.5, -0.1, -0.2, -2.0, -0.4))
    late = replace(paris, delay_seconds=0.05)
    return ScriptedSampler(
        {FRANCE[0].content: [paris, late, ScriptedAnswer("Paris"), "Lyon"], PERU[1].content: ["Lima", "Cusco is it"]},
        context_length=4096,
    )


def openai_sampler(
    url: str, *, model: str = MODEL, metrics: Metrics | None = None, **endpoint_options: Any
) -> OpenAISampler:
    endpoints = Endpoints([url], metrics or Metrics(), **endpoint_options)
    return OpenAISampler(endpoints, model=model)


async def draw(sampler: Sampler, messages: list[Message], sampling: Sampling) -> list[Sample]:
    return [sample async for sample in sampler.sample(messages, sampling)]


async def draw_sorted(sampler: Sampler, messages: list[Message], sampling: Sampling) -> list[Sample]:
    """The greedy answer, then sample 0 ... n-1."""
    return sorted(await draw(sampler, messages, sampling), key=lambda s: (not s.is_greedy, s.index))


def assert_same(first: list[Sample], second: list[Sample], *, tolerance: float = 0.0) -> None:
    """Equal but for logprobs, which may differ by `tolerance` nats."""
    bare = [[replace(sample, token_logprobs=None) for sample in samples] for samples in (first, second)]
    assert bare[0] == bare[1]
    for one, other in zip(first, second, strict=True):
        assert one.token_logprobs == pytest.approx(other.token_logprobs, abs=tolerance)


@dataclass
class ForwardPasses:
    """Forward passes of any language model in this process: the shape of the token ids, and the thread."""

    shapes: list[tuple[int, int]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    @property
    def n_prompts(self) -> int:
        return sum(length > 1 for _, length in self.shapes)


@contextmanager
def forward_passes() -> Iterator[ForwardPasses]:
    seen = ForwardPasses()

    def note(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        rows, length = kwargs["input_ids"].shape
        seen.shapes.append((rows, length))
        seen.threads.add(threading.get_ident())

    original = LlamaForCausalLM.__call__

    def call(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        note(self, args, kwargs)
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "__call__", call)
        yield seen


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - it watches a thread, which sets no event
            await asyncio.sleep(0.001)


@dataclass
class Reference:
    """The same checkpoint, asked without any cache or batch."""

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: Path, *, dtype: torch.dtype = torch.float32) -> Reference:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
        return cls(model, AutoTokenizer.from_pretrained(folder, local_files_only=True))

    def prompt_ids(self, messages: list[Message]) -> list[int]:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        return list(self.tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"])

    def logits(self, ids: list[int]) -> torch.Tensor:
        """Of the token after each of `ids`."""
        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([ids])).logits[0]

    def logprobs(self, messages: list[Message], tokens: tuple[str, ...]) -> list[float]:
        prompt, drawn = self.prompt_ids(messages), self.tokenizer.convert_tokens_to_ids(list(tokens))
        after = self.logits(prompt + drawn)[len(prompt) - 1 : -1].double().log_softmax(-1)
        return [after[i, token].item() for i, token in enumerate(drawn)]

    def greedy_ids(self, messages: list[Message], n_tokens: int) -> list[int]:
        ids = self.prompt_ids(messages)
        for _ in range(n_tokens):
            ids.append(int(self.logits(ids)[-1].argmax()))
        return ids[-n_tokens:]


def prompt_of(reference: Reference, n_tokens: int) -> list[Message]:
    """Grown by one character at a time, which is at most one token, as no tokenizer says how long a text will be."""
    text = "x1" * (n_tokens // 3)
    while len(reference.prompt_ids([Message("user", text)])) < n_tokens:
        text += "1x"[len(text) % 2]
        assert len(text) < 10 * n_tokens
    return [Message("user", text)]


def distribution(logits: torch.Tensor, sampling: Sampling) -> dict[int, float]:
    """Softmax at the temperature, cut to the likeliest tokens that together reach top_p; in plain Python."""
    weights = {i: math.exp((x - logits.max().item()) / sampling.temperature) for i, x in enumerate(logits.tolist())}
    ranked = sorted(((w / sum(weights.values()), i) for i, w in weights.items()), reverse=True)
    nucleus: dict[int, float] = {}
    for probability, token in ranked:
        if sum(nucleus.values()) < sampling.top_p:
            nucleus[token] = probability
    return {token: p / sum(nucleus.values()) for token, p in nucleus.items()}
