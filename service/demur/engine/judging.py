"""Which samples mean the same, and do the passages support the answer? By an NLI model, or without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from demur.clustering import Clusterer, exact_match, place_exactly
from demur.engine.drawing import Draw
from demur.entailment.groundedness import Groundedness, groundedness
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.errors import EntailmentUnavailable, Overloaded
from demur.observability.logging import logger
from demur.settings import ClusteringSettings
from demur.types import ANONYMOUS, Clustering, Question


@dataclass(frozen=True, slots=True)
class Meanings:
    """The partition of the samples, and the meaning of the greedy answer in it: None where no sample means the same."""

    clustering: Clustering
    greedy_id: int | None


class Judge:
    """Judges one request. Without an NLI model, or when it fails or runs out of time, it falls back and remembers that.

    `n_pairs` were asked of the model, `n_pairs_cached` remembered; `is_truncated`: some text was too long for it;
    `has_fallen_back`: exact match stood in for it; `ran_out_of_time`: for want of time.
    """

    def __init__(self, memo: PairMemo | None, settings: ClusteringSettings, tenant: str = ANONYMOUS) -> None:
        self._tally = PairTally(memo, tenant) if memo else None
        self._settings = settings
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
    def is_truncated(self) -> bool:
        return self._has_partial_grounds or (self._tally is not None and self._tally.n_truncated > 0)

    async def meanings(self, question: str, drawn: Draw, *, seconds: float) -> Meanings:
        """Cluster the samples and place the greedy answer."""
        texts = [s.text for s in drawn.samples]
        if self._tally is not None:
            with self._falling_back(seconds):
                return await self._meanings_by_model(self._tally, question, texts, drawn)
        return _meanings_by_exact_match(texts, drawn)

    async def _meanings_by_model(self, tally: PairTally, question: str, texts: Sequence[str], drawn: Draw) -> Meanings:
        clusterer = Clusterer(tally, self._settings.rule, self._settings.include_prompt)
        clustered = await clusterer.cluster(texts, question)
        greedy_id = await clusterer.place(drawn.greedy.text, clustered) if drawn.greedy else None
        return Meanings(clustered.clustering, greedy_id)

    async def grounds(self, question: Question, answer: str, *, seconds: float) -> Groundedness | None:
        """How far the passages entail `answer`; None where there is no model to say."""
        if self._tally is None or self.has_fallen_back:
            return None
        with self._falling_back(seconds):
            found = await groundedness(self._tally, question=question.text, answer=answer, passages=question.context)
            self._has_partial_grounds = found.is_partial
            return found
        return None

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


def _meanings_by_exact_match(texts: Sequence[str], drawn: Draw) -> Meanings:
    clustering = exact_match(texts)
    return Meanings(clustering, place_exactly(drawn.greedy.text, texts, clustering) if drawn.greedy else None)
