"""The words that stand in requests, records and answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class Action(StrEnum):
    """What the caller should do with the answer."""

    ANSWER = "answer"
    RETRIEVE = "retrieve"
    ABSTAIN = "abstain"


class Reason(StrEnum):
    """Why the policy chose its action."""

    ABOVE_ANSWER_THRESHOLD = "above_answer_threshold"
    BELOW_ANSWER_THRESHOLD = "below_answer_threshold"
    BELOW_RETRIEVE_THRESHOLD = "below_retrieve_threshold"
    NON_ANSWER = "non_answer"
    CONTRADICTS_CONTEXT = "contradicts_context"
    INSUFFICIENT_CONTEXT = "insufficient_context"
    RETRIEVAL_EXHAUSTED = "retrieval_exhausted"
    DEADLINE = "deadline"


class Degradation(StrEnum):
    """Why a number is missing, or weaker than usual."""

    NO_LOGPROBS = "no_logprobs"
    NO_GREEDY = "no_greedy"
    MODIFIED_SAMPLING = "modified_sampling"
    PARTIAL_SAMPLES = "partial_samples"
    NLI_UNAVAILABLE = "nli_unavailable"
    NLI_TRUNCATED = "nli_truncated"
    SAMPLES_TRUNCATED = "samples_truncated"
    LONG_ANSWERS = "long_answers"
    UNCALIBRATED = "uncalibrated"
    SAMPLING_SKIPPED = "sampling_skipped"
    DEADLINE = "deadline"
    CACHE_UNAVAILABLE = "cache_unavailable"


LogprobSource = Literal["raw", "processed", "unknown"]
AnswerStrategy = Literal["auto", "mode", "greedy"]
OnAbstain = Literal["annotate", "replace", "omit"]
OnDeadline = Literal["partial", "error"]
SamplingMode = Literal["fixed", "adaptive", "cascade"]
CacheMode = Literal["default", "bypass", "refresh", "only"]
CacheStatus = Literal["hit", "miss", "bypass", "refresh", "shared"]

ANONYMOUS = "anonymous"  # the tenant where there are no API keys
ELSEWHERE = "elsewhere"  # the model of samples that were not drawn here
Role = Literal["system", "user", "assistant", "developer"]
Scope = Literal["closed_book", "two_stage", "cascade"]
SignalName = Literal["agreement", "semantic_entropy", "mean_logprob", "min_logprob", "greedy_agrees", "sample_coverage"]
