"""One reply of a language model, to a prompt of our own."""

from __future__ import annotations

from contextlib import aclosing

from demur.samplers.base import Sampler
from demur.types import Message, Sample, Sampling


async def reply(sampler: Sampler, prompt: str, *, max_tokens: int) -> Sample:
    """The T=0 reply; where the model gives none, one that was drawn. Raises as `Sampler.sample`."""
    drawn: list[Sample] = []
    sampling = Sampling(n=1, max_tokens=max_tokens, seed=0)
    async with aclosing(sampler.sample((Message("user", prompt),), sampling)) as samples:
        async for sample in samples:
            if sample.is_greedy:
                return sample
            drawn.append(sample)
    return drawn[0]
