"""What is told of a question while it is being answered. Events flow one way: from the engine to a listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from demur.types import Answer, Clustering, Sample


@dataclass(frozen=True, slots=True)
class Begun:
    """The work on an answer has begun, which will be called `answer_id`; `n` samples are wanted."""

    answer_id: str
    n: int


@dataclass(frozen=True, slots=True)
class Landed:
    """One of the `n` samples; the greedy answer is none of them."""

    sample: Sample


@dataclass(frozen=True, slots=True)
class Grown:
    """The partition of the samples that have landed: the meaning of sample i is `assignments[i]`.

    None stands for one that has not. What no entailment has been asked about counts as different, so that meanings may
    still merge until the last of these is told.
    """

    assignments: tuple[int | None, ...]

    @property
    def clustering(self) -> Clustering:
        return Clustering(tuple(semantic_id for semantic_id in self.assignments if semantic_id is not None))


Event: TypeAlias = Begun | Landed | Grown
Listener = Callable[[Event], None]
"""Must not block, and must not raise."""


def retold(answer: Answer) -> Iterator[Event]:
    """What there is to tell of an answer that is there already."""
    n = answer.question.sampling.n
    yield Begun(answer.id, n)
    if not answer.samples:
        return
    yield from map(Landed, answer.samples)
    placed = {sample.index: id_ for sample, id_ in zip(answer.samples, answer.semantic_ids, strict=True)}
    yield Grown(tuple(placed.get(i) for i in range(n)))
