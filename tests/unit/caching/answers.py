"""Answers to put away, and a sampler's stand-in that counts how often it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import anyio

from demur.types import (
    Action,
    Answer,
    Cluster,
    Decision,
    Degradation,
    Message,
    Question,
    Reason,
    Sample,
    Uncertainty,
    Work,
)


def question(text: str = "Capital of France?", **changes: object) -> Question:
    return replace(Question(messages=(Message("user", text),)), **changes)  # type: ignore[arg-type]


def answer(asked: Question, *, id_: str = "ans_1", degraded: tuple[Degradation, ...] = ()) -> Answer:
    """Two samples that agree."""
    samples = (Sample("Paris", 0, token_logprobs=(-0.1,), tokens=("Paris",)), Sample("Paris", 1))
    return Answer(
        id=id_,
        created=1_795_337_034,
        model="scripted",
        nli_model="same-text",
        question=asked,
        text="Paris",
        chosen=samples[0],
        decision=Decision(Action.ANSWER, Reason.ABOVE_ANSWER_THRESHOLD),
        policy=asked.policy,
        guarantee=None,
        calibration=None,
        confidence=1.0,
        signals={"agreement": 1.0, "semantic_entropy": 0.0},
        uncertainty=Uncertainty(0.0, 0.0, None, None, 1, 1.0, 1.0, 0.0),
        token_confidence=None,
        groundedness=None,
        clusters=(Cluster(0, "Paris", 2, None, (0, 1), False),),
        samples=samples,
        greedy=None,
        greedy_cluster=None,
        semantic_ids=(0, 0),
        degraded=(Degradation.UNCALIBRATED, *degraded),
        work=Work(n_pairs=3, n_completion_tokens=7, generate_seconds=1.5, total_seconds=2.0),
    )


@dataclass
class Oracle:
    """Stands for the engine: answers, numbered, once `gate` is open. `outcome` may replace or refuse an answer."""

    outcome: Callable[[Answer], Answer] = lambda made: made
    gate: anyio.Event = field(default_factory=anyio.Event)
    asked: list[Question] = field(default_factory=list)
    n_cancelled: int = 0

    async def __call__(self, asked: Question) -> Answer:
        self.asked.append(asked)
        made = answer(asked, id_=f"ans_{len(self.asked)}")
        try:
            await self.gate.wait()
        except anyio.get_cancelled_exc_class():
            self.n_cancelled += 1
            raise
        return self.outcome(made)


def ready(outcome: Callable[[Answer], Answer] = lambda made: made) -> Oracle:
    """An oracle that answers at once."""
    oracle = Oracle(outcome)
    oracle.gate.set()
    return oracle
