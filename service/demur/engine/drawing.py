"""Draw the samples of one question, within its time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import anyio

from demur.engine.calibrating import Reading
from demur.errors import BackendError, BackendUnavailable
from demur.samplers.base import OnText, Sampler
from demur.types import Message, Sample, Sampling


@dataclass(frozen=True, slots=True)
class Draw:
    """What came of asking for `n_requested` samples and one greedy answer. `stopped_early`: those here were enough.

    `rated` was made elsewhere. `alone` is what is said of the greedy answer where it was enough by itself.
    """

    samples: tuple[Sample, ...]
    greedy: Sample | None
    n_requested: int
    deadline_reached: bool
    stopped_early: bool = False
    rated: Sample | None = None
    alone: Reading | None = None

    @property
    def beside(self) -> Sample | None:
        """What is compared with the samples, and none of them: the answer that is rated, else the greedy one."""
        return self.rated or self.greedy

    @property
    def compared(self) -> tuple[Sample, ...]:
        """The samples, and what is compared with them."""
        return (*self.samples, self.beside) if self.beside else self.samples

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(s.text for s in self.samples)

    @property
    def is_partial(self) -> bool:
        return len(self.samples) < self.n_requested and not self.stopped_early

    @property
    def n_saved(self) -> int:
        return self.n_requested - len(self.samples) if self.stopped_early else 0

    @property
    def n_truncated(self) -> int:
        return sum(s.is_truncated for s in self.samples)

    @property
    def n_prompt_tokens(self) -> int:
        """The prompt is read once, however many answers follow it."""
        return max((s.n_prompt_tokens or 0 for s in self._drawn), default=0)

    @property
    def n_completion_tokens(self) -> int:
        return sum(s.n_completion_tokens or 0 for s in self._drawn)

    @property
    def _drawn(self) -> tuple[Sample, ...]:
        return (*self.samples, self.greedy) if self.greedy else self.samples


async def draw(
    sampler: Sampler,
    messages: Sequence[Message],
    sampling: Sampling,
    seconds: float,
    on_sample: Callable[[Sample], None] | None = None,
    on_text: OnText | None = None,
    enough: anyio.CancelScope | None = None,
) -> Draw:
    """Collect answers until all are in, `enough` is cancelled, or `seconds` have passed; then the rest is cancelled.

    `on_sample` is told of each as it lands, `on_text` of the greedy one while it is written; they must not block.
    """
    arrived: list[Sample] = []
    enough = enough or anyio.CancelScope()
    with enough, anyio.move_on_after(seconds) as scope:
        async with aclosing(sampler.sample(messages, sampling, on_text)) as answers:
            async for answer in answers:
                arrived.append(_stripped(answer))
                if on_sample:
                    on_sample(arrived[-1])
    samples = sorted((s for s in arrived if not s.is_greedy), key=lambda s: s.index)
    greedy = next((s for s in arrived if s.is_greedy), None)
    return Draw(tuple(samples), greedy, sampling.n, scope.cancelled_caught, enough.cancelled_caught)


async def draw_greedy(
    sampler: Sampler, messages: Sequence[Message], sampling: Sampling, seconds: float, on_text: OnText | None
) -> Sample | None:
    """The greedy answer alone; None where that draw fails, which is no failure of the samples, or takes too long."""
    try:
        drawn = await draw(sampler, messages, replace(sampling, n=0), seconds, None, on_text)
    except (BackendError, BackendUnavailable):
        return None
    return drawn.greedy


def _stripped(sample: Sample) -> Sample:
    """Base models begin an answer with a space; tokens and logprobs stay as drawn."""
    text = sample.text.strip()
    return sample if text == sample.text else replace(sample, text=text)
