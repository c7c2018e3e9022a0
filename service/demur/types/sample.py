"""One drawn answer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from demur.types.vocabulary import LogprobSource


@dataclass(frozen=True, slots=True)
class Sample:
    """One drawn answer.

    `token_logprobs` are natural logs in (-inf, 0], the end-of-sequence token included where the model drew one;
    None where the backend gave none. `tokens` are the raw tokens they belong to. `is_greedy` marks the T=0 answer,
    which is drawn beside the samples and never counted among them. Without `has_own_count`, `n_completion_tokens` is
    no more than an estimate: an even share of what several answers took together.
    """

    text: str
    index: int = 0
    finish_reason: Literal["stop", "length"] = "stop"
    tokens: tuple[str, ...] | None = None
    token_logprobs: tuple[float, ...] | None = None
    logprob_source: LogprobSource = "unknown"
    is_greedy: bool = False
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    has_own_count: bool = True

    @property
    def sequence_logprob(self) -> float | None:
        """Log-probability of the whole answer, in nats; None without token logprobs."""
        return math.fsum(self.token_logprobs) if self.token_logprobs else None

    @property
    def is_truncated(self) -> bool:
        return self.finish_reason == "length"


def max_n_tokens(samples: Iterable[Sample]) -> int | None:
    """Tokens of the longest; None where the backend did not count those of each, or there is none."""
    counts = [sample.n_completion_tokens if sample.has_own_count else None for sample in samples]
    known = [count for count in counts if count is not None]
    return max(known) if known and len(known) == len(counts) else None
