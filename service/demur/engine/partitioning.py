"""Which of some texts mean the same; nothing is drawn, chosen or decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from demur.engine.choosing import representative
from demur.engine.drawing import Draw
from demur.engine.judging import Judge
from demur.engine.measuring import is_long
from demur.types import Clustering, Degradation, Judgement, Sample


@dataclass(frozen=True, slots=True)
class Partition:
    """Texts by meaning; `representatives[k]` is a text of meaning k. Counts of directed pairs as in `Work`."""

    clustering: Clustering
    representatives: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    n_pairs: int
    n_pairs_cached: int
    is_truncated: bool
    degraded: tuple[Degradation, ...]


async def partitioned(texts: Sequence[str], question: str, judge: Judge, *, seconds: float) -> Partition:
    """The partition that samples with these texts would have."""
    samples = tuple(Sample(text.strip(), index) for index, text in enumerate(texts))
    drawn = Draw(samples, None, len(samples), deadline_reached=False)
    found = await judge.meanings(question, drawn, seconds=seconds)
    clustering = found.clustering
    members = (clustering.members(k) for k in range(clustering.n_clusters))
    reasons = {
        Degradation.NLI_UNAVAILABLE: judge.has_fallen_back,
        Degradation.NLI_TRUNCATED: judge.is_truncated,
        Degradation.LONG_ANSWERS: is_long(samples),
        Degradation.DEADLINE: judge.ran_out_of_time,
    }
    return Partition(
        clustering=clustering,
        representatives=tuple(representative([samples[i] for i in each]).text for each in members),
        judgements=found.judgements,
        n_pairs=judge.n_pairs,
        n_pairs_cached=judge.n_pairs_cached,
        is_truncated=judge.is_truncated,
        degraded=tuple(reason for reason, holds in reasons.items() if holds),
    )
