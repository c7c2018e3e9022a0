"""The partition of the samples so far, told each time it has become another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from demur.engine.events import Grown, Landed, Listener
from demur.types import Clustering, Sample


class Growth:
    """Tells `listen` of each sample, and of what `partition` makes of those that have landed. `n` are wanted."""

    def __init__(self, n: int, partition: Callable[[Sequence[str]], Clustering], listen: Listener) -> None:
        self._n = n
        self._partition = partition
        self._listen = listen
        self._texts: dict[int, str] = {}
        self._told: Grown | None = None

    def hear(self, sample: Sample) -> None:
        """A sample has landed."""
        if not sample.is_greedy:
            self._texts[sample.index] = sample.text
            self._listen(Landed(sample))
            self.look_again()

    def look_again(self) -> None:
        """More may be known of what has landed."""
        if self._texts:
            self.settle(self._partition([self._texts[i] for i in sorted(self._texts)]))

    def settle(self, clustering: Clustering) -> None:
        """This is the partition of what has landed, in the order of the samples."""
        placed = dict(zip(sorted(self._texts), clustering.semantic_ids, strict=True))
        grown = Grown(tuple(placed.get(i) for i in range(self._n)))
        if grown != self._told:
            self._told = grown
            self._listen(grown)
