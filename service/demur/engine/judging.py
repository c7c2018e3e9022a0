"""Which samples mean the same, and do the passages support the answer? By an NLI model, or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import anyio

from demur.clustering import Clusterer, exact_match, place_exactly
from demur.engine.drawing import Draw
from demur.engine.events import Listener
from demur.engine.growing import Growth
from demur.engine.speculation import Speculation
from demur.engine.stopping import EarlyStop
from demur.entailment.groundedness import Groundedness, groundedness
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.errors import EntailmentUnavailable, Overloaded
from demur.observability.logging import logger
from demur.settings import ClusteringSettings
from demur.types import ANONYMOUS, Clustering, Judgement, Pair, Question, Sample, Verdict


@dataclass(frozen=True, slots=True)
class Meanings:
    """The partition of the samples, and the meaning of the answer beside them: None where no sample means the same.

    `judgements` led to it; there are none where texts alone did.
    """

    clustering: Clustering
    beside_id: int | None
    judgements: tuple[Judgement, ...] = ()


class Judge:
    """Judges one request. Without an NLI model, or when it fails or runs out of time, it falls back and remembers that.

    `n_pairs` were asked of the model, `n_pairs_cached` remembered, `n_pairs_speculative` asked while samples were drawn
    and not needed in the end; `is_truncated`: some text was too long for it; `has_fallen_back`: exact match stood in
    for it; `ran_out_of_time`: for want of time. A `listener` is told of samples, and of how their partition grows; a
    `stop` looks at it.
    """

    def __init__(
        self,
        memo: PairMemo | None,
        settings: ClusteringSettings,
        tenant: str = ANONYMOUS,
        *,
        overlaps: bool = False,
        listener: Listener | None = None,
        stop: EarlyStop | None = None,
    ) -> None:
        self._tally = PairTally(memo, tenant) if memo else None
        self._clusterer = Clusterer(self._tally, settings.rule, settings.include_prompt) if self._tally else None
        self._overlaps = overlaps or stop is not None  # which has to know meanings while samples are drawn
        self._stop = stop
        self._landed: list[str] = []
        self._has_greedy = False
        self._question = ""
        self._speculation: Speculation | None = None
        self._listener = listener
        self._growth: Growth | None = None
        self._has_partial_grounds = False
        self.has_fallen_back = memo is None
        self.ran_out_of_time = False

    @property
    def n_pairs(self) -> int:
        return self._tally.n_model if self._tally else 0

    @property
    def n_pairs_cached(self) -> int:
        return self._tally.n_cached if self._tally else 0

    @property
    def n_pairs_speculative(self) -> int:
        return self._tally.n_speculative if self._tally else 0

    @property
    def hidden_seconds(self) -> float:
        """Time that pairs asked ahead were with the model before the last sample landed."""
        return self._speculation.hidden_seconds if self._speculation else 0.0

    @property
    def is_truncated(self) -> bool:
        return self._has_partial_grounds or (self._tally is not None and self._tally.n_truncated > 0)

    @asynccontextmanager
    async def looking_ahead(self, question: str, *, n_samples: int) -> AsyncIterator[None]:
        """Where this judge `overlaps`, it judges the samples that it hears of inside the block, and stops with it."""
        self._question = question
        if self._listener is not None:
            self._growth = Growth(n_samples, lambda texts: self._so_far(texts, question), self._listener)
        if not self._overlaps or self._tally is None or self._clusterer is None:
            yield
            return
        self._speculation = Speculation(self._clusterer, self._tally, question, n_samples, self._look_again)
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            group.start_soon(self._speculation.run)
            try:
                yield
            except Exception as error:  # carried out of the group, which would wrap it
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def hear(self, sample: Sample) -> None:
        """A sample has landed, and others are still being drawn."""
        if self._speculation is not None:
            self._speculation.hear(sample)
        if self._growth is not None:
            self._growth.hear(sample)
        if sample.is_greedy:
            self._has_greedy = True
        else:
            self._landed.append(sample.text)
        self._look_whether_to_stop()

    def _look_again(self) -> None:
        if self._growth is not None:
            self._growth.look_again()
        self._look_whether_to_stop()

    def _look_whether_to_stop(self) -> None:
        """The greedy answer is waited for: what is said of the answer's tokens is about that one."""
        if self._stop is not None and self._landed and self._has_greedy:
            self._stop.look(self._so_far(self._landed, self._question), is_settled=self._is_settled())

    def _is_settled(self) -> bool:
        if self._tally is None or self._clusterer is None:
            return True
        return not self._clusterer.open_pairs(self._landed, None, self._question, self._tally.known)

    async def meanings(self, question: str, drawn: Draw, *, seconds: float) -> Meanings:
        """Cluster the samples, now that all have landed, and place the answer beside them."""
        if self._speculation is not None:
            self._speculation.end()
        found = await self._meanings(question, drawn, seconds)
        if self._growth is not None:
            self._growth.settle(found.clustering)
        return found

    async def _meanings(self, question: str, drawn: Draw, seconds: float) -> Meanings:
        if self._tally is not None and self._clusterer is not None:
            with self._falling_back(seconds):
                return await _meanings_by_model(self._clusterer, self._tally, question, drawn)
        return _meanings_by_exact_match(drawn)

    async def grounds(self, question: Question, answer: str, *, seconds: float) -> Groundedness | None:
        """How far the passages entail `answer`; None where there is no model to say."""
        if self._tally is None or self.has_fallen_back:
            return None
        with self._falling_back(seconds):
            found = await groundedness(self._tally, question=question.text, answer=answer, passages=question.context)
            self._has_partial_grounds = found.is_partial
            return found
        return None

    def _so_far(self, answers: Sequence[str], question: str) -> Clustering:
        if self._tally is None or self._clusterer is None:
            return exact_match(answers)
        return self._clusterer.so_far(answers, question, self._tally.known)

    @contextmanager
    def _falling_back(self, seconds: float) -> Iterator[None]:
        """Leave the block, rather than the request, when the model fails or `seconds` have passed."""
        try:
            with anyio.fail_after(seconds):
                yield
        except (EntailmentUnavailable, Overloaded, TimeoutError) as error:
            logger.warning("nli_unavailable", reason=str(error) or "out of time")
            self.has_fallen_back = True
            self.ran_out_of_time = isinstance(error, TimeoutError)


async def _meanings_by_model(clusterer: Clusterer, tally: PairTally, question: str, drawn: Draw) -> Meanings:
    clustered = await clusterer.cluster(drawn.texts, question, asked=tally.asked_ahead, known=tally.known)
    beside_id = None
    if drawn.beside is not None:
        beside_id = await clusterer.place(drawn.beside.text, clustered, asked=tally.asked_ahead, known=tally.known)
    return Meanings(clustered.clustering, beside_id, _judgements(drawn, tally.used))


def _judgements(drawn: Draw, verdicts: Mapping[Pair, Verdict]) -> tuple[Judgement, ...]:
    """A text that several samples share is named by the first of them."""
    first = {sample.text: sample.index for sample in reversed(drawn.samples)}
    return tuple(
        Judgement(first.get(pair.premise.answer), first.get(pair.hypothesis.answer), verdict)
        for pair, verdict in verdicts.items()
    )


def _meanings_by_exact_match(drawn: Draw) -> Meanings:
    clustering = exact_match(drawn.texts)
    return Meanings(clustering, place_exactly(drawn.beside.text, drawn.texts, clustering) if drawn.beside else None)
