"""Stated confidence: asked how sure it is, a model says a number."""

from __future__ import annotations

import re

from demur.offline.replies import reply
from demur.samplers.base import Sampler

# The answer is shown as somebody's, in a conversation of its own: models are surer of what they know to be theirs.
PROMPT = """\
Question: {question}
Proposed answer: {answer}

How likely is it that the proposed answer is correct? Reply with a number from 0 to 100, and nothing else."""

_MAX_TOKENS = 64
_NUMBER = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d+)?)\s*(%?)")


async def ask_confidence(sampler: Sampler, question: str, answer: str) -> tuple[float | None, int]:
    """The probability that it states, in [0, 1], None where its reply holds none; and the tokens that took.

    Raises as `Sampler.sample`.
    """
    said = await reply(sampler, PROMPT.format(question=question, answer=answer), max_tokens=_MAX_TOKENS)
    return read_confidence(said.text), said.n_completion_tokens or 0


def read_confidence(text: str) -> float | None:
    """The first number, of 100; below 1, with a point and without a sign for per cent, of 1."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    number, is_share = float(found[1]), "." in found[1] and not found[2] and float(found[1]) <= 1
    stated = number if is_share else number / 100
    return stated if stated <= 1 else None
