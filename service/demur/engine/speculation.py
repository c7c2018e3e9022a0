"""Pairs asked ahead: those that the samples drawn so far would need, while the others are still being drawn."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import anyio

from demur.clustering import Clusterer
from demur.entailment.pair_memo import PairTally
from demur.errors import EntailmentUnavailable, Overloaded
from demur.types import Pair, Sample

# One batch of answers of usual length on a CPU: as much as may turn out useless while the clustering waits for it.
_MAX_PAIRS = 16


class Speculation:
    """Follows the clustering of the samples so far, one small batch at a time, so that their verdicts are at hand when
    the last one lands.

    It decides nothing: the clustering is computed afterwards, from all samples, and asks for what is missing. What is
    asked ahead is what that clustering would ask if no further sample came, so little is asked in vain.
    """

    def __init__(
        self,
        clusterer: Clusterer,
        tally: PairTally,
        question: str,
        n_samples: int,
        on_verdicts: Callable[[], None] | None = None,
    ) -> None:
        self._clusterer = clusterer
        self._tally = tally
        self._question = question
        self._n_samples = n_samples
        self._on_verdicts = on_verdicts
        self._answers: list[str] = []
        self._greedy: str | None = None
        self._news = anyio.Event()
        self._is_over = False
        self._asking_since: float | None = None
        self.hidden_seconds = 0.0

    def hear(self, sample: Sample) -> None:
        """A sample has landed."""
        if sample.is_greedy:
            self._greedy = sample.text
        else:
            self._answers.append(sample.text)
        self._news.set()

    def end(self) -> None:
        """The last sample has landed: ask nothing more. A batch under way is left to those who need its verdicts."""
        self._is_over = True
        self._count_hidden()

    async def run(self) -> None:
        """Until `end`, or until the model fails: the clustering will ask it again, and report what it finds."""
        try:
            while not self._is_over:
                await self._step()
        except (EntailmentUnavailable, Overloaded):
            return

    async def _step(self) -> None:
        await self._tally.calm()
        pairs = self.open_pairs()
        if pairs:
            await self._ask(pairs)
        else:
            self._news = anyio.Event()
            await self._news.wait()

    def open_pairs(self) -> list[Pair]:
        """The next to ask; [] where nothing is left to ask about what has landed, and at the end."""
        if self._is_over:
            return []
        # Early on, the greedy answer may still turn out to be a sample's own words, and its heads are not yet settled.
        greedy = self._greedy if 2 * len(self._answers) >= self._n_samples else None
        return self._clusterer.open_pairs(self._answers, greedy, self._question, self._tally.known)[:_MAX_PAIRS]

    async def _ask(self, pairs: list[Pair]) -> None:
        self._asking_since = perf_counter()
        try:
            await self._tally.label_ahead(pairs)
        finally:
            self._count_hidden()
        if self._on_verdicts and not self._is_over:
            self._on_verdicts()

    def _count_hidden(self) -> None:
        if self._asking_since is not None:
            self.hidden_seconds += perf_counter() - self._asking_since
        self._asking_since = None
