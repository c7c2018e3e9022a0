"""From samples and their partition to the numbers, clusters and reservations that are reported."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from demur.engine.choosing import Choice, representative
from demur.engine.drawing import Draw
from demur.engine.judging import Judge
from demur.estimators.consistency import agreement
from demur.estimators.predictive_entropy import predictive_entropy
from demur.estimators.sample_coverage import sample_coverage
from demur.estimators.semantic_entropy import (
    cluster_masses,
    semantic_entropy,
    semantic_entropy_normalized,
    semantic_entropy_weighted,
)
from demur.estimators.token_probability import token_confidence
from demur.normalisation.non_answers import is_non_answer, refusal_fraction
from demur.types import Cluster, Clustering, Degradation, Question, Sample, Sampling, Uncertainty

LONG_ANSWER_WORDS = 40

_UNMEASURED = Uncertainty(None, None, None, None, None, None, None, None)


def measure(samples: Sequence[Sample], clustering: Clustering, choice: Choice, sampling: Sampling) -> Uncertainty:
    """Likelihood-based numbers are None unless samples come from the unmodified model (T=1, top_p=1); without samples
    all are."""
    if not samples:
        return _UNMEASURED
    is_unmodified = sampling.is_unmodified
    return Uncertainty(
        semantic_entropy=semantic_entropy(clustering),
        semantic_entropy_normalized=semantic_entropy_normalized(clustering),
        semantic_entropy_weighted=semantic_entropy_weighted(clustering, samples) if is_unmodified else None,
        predictive_entropy=predictive_entropy(samples) if is_unmodified else None,
        num_clusters=clustering.n_clusters,
        agreement=agreement(clustering, choice.semantic_id),
        sample_coverage=sample_coverage(clustering),
        refusal_fraction=refusal_fraction([s.text for s in samples]),
    )


def view_clusters(samples: Sequence[Sample], clustering: Clustering, sampling: Sampling) -> tuple[Cluster, ...]:
    """The meanings as people see them, in order of first appearance."""
    masses = cluster_masses(clustering, samples) if samples and sampling.is_unmodified else None
    views = []
    for index in range(clustering.n_clusters):
        members = clustering.members(index)
        mass = masses[index] if masses else None
        views.append(_view(index, members, [samples[i] for i in members], mass))
    return tuple(views)


def _view(index: int, members: tuple[int, ...], samples: Sequence[Sample], mass: float | None) -> Cluster:
    shown = representative(samples)
    return Cluster(
        index=index,
        text=shown.text,
        size=len(members),
        mass=mass,
        sample_indices=tuple(sample.index for sample in samples),
        non_answer=gives_no_answer(shown),
    )


def gives_no_answer(sample: Sample) -> bool:
    """A refusal, an empty text, or an answer cut off by max_tokens: nothing to rely upon."""
    return sample.is_truncated or is_non_answer(sample.text)


def reservations(question: Question, drawn: Draw, judge: Judge, uncertainty: Uncertainty) -> tuple[Degradation, ...]:
    """Why numbers are missing, or weaker than usual."""
    if drawn.alone:
        return (Degradation.SAMPLING_SKIPPED,)
    is_unmodified = question.sampling.is_unmodified
    found = {
        Degradation.NO_LOGPROBS: _lacks_logprobs(drawn, uncertainty, is_unmodified=is_unmodified),
        Degradation.NO_GREEDY: drawn.beside is None,
        Degradation.MODIFIED_SAMPLING: not is_unmodified,
        Degradation.PARTIAL_SAMPLES: drawn.is_partial,
        Degradation.NLI_UNAVAILABLE: judge.has_fallen_back,
        Degradation.NLI_TRUNCATED: judge.is_truncated,
        Degradation.SAMPLES_TRUNCATED: any(answer.is_truncated for answer in drawn.compared),
        Degradation.LONG_ANSWERS: is_long(drawn.samples),
        Degradation.DEADLINE: drawn.deadline_reached or judge.ran_out_of_time,
    }
    return tuple(reason for reason, holds in found.items() if holds)


def _lacks_logprobs(drawn: Draw, uncertainty: Uncertainty, *, is_unmodified: bool) -> bool:
    """Whether logprobs are missing, or are not the model's own, so that a number had to be left out."""
    has_all = all(token_confidence(answer) is not None for answer in drawn.compared)
    is_unweighted = is_unmodified and uncertainty.semantic_entropy_weighted is None
    return not has_all or (is_unweighted and drawn.n_truncated < len(drawn.samples))


def is_long(samples: Sequence[Sample]) -> bool:
    """Whether entailment of whole texts no longer means that they answer the same."""
    return statistics.median(len(s.text.split()) for s in samples) > LONG_ANSWER_WORDS
