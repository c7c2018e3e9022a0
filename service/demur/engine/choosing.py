"""Which answer to give: the heaviest meaning, and the words for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from demur.types import AnswerStrategy, Clustering, Sample


@dataclass(frozen=True, slots=True)
class Choice:
    """The answer given, and the meaning it has among the samples: None where no sample means the same; the heaviest
    meaning is None where there are no samples."""

    sample: Sample
    semantic_id: int | None
    heaviest_id: int | None


def choose(
    samples: Sequence[Sample],
    clustering: Clustering,
    greedy: Sample | None,
    greedy_id: int | None,
    strategy: AnswerStrategy,
) -> Choice:
    """auto: the greedy answer if it lies in the heaviest cluster, else that cluster's representative;
    mode: always the representative; greedy: always the greedy answer where there is one."""
    heaviest = heaviest_cluster(samples, clustering, greedy_id)
    if greedy is not None and (strategy == "greedy" or (strategy == "auto" and greedy_id == heaviest)):
        return Choice(greedy, greedy_id, heaviest)
    return Choice(representative([samples[i] for i in clustering.members(heaviest)]), heaviest, heaviest)


def heaviest_cluster(samples: Sequence[Sample], clustering: Clustering, greedy_id: int | None) -> int:
    """The meaning of most samples; on a tie the greedy answer's, then the one whose representative sorts first."""

    def rank(semantic_id: int) -> tuple[int, bool, str]:
        members = [samples[i] for i in clustering.members(semantic_id)]
        return -len(members), semantic_id != greedy_id, representative(members).text

    return min(range(clustering.n_clusters), key=rank)


def representative(members: Sequence[Sample]) -> Sample:
    """A sample with the most frequent text; among those texts the most probable, then the first alphabetically."""
    frequency = Counter(s.text for s in members)

    def rank(sample: Sample) -> tuple[int, float, str, int]:
        logprob = sample.sequence_logprob
        return -frequency[sample.text], float("inf") if logprob is None else -logprob, sample.text, sample.index

    return min(members, key=rank)
