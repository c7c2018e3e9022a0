"""The values that flow through Demur: frozen, free of I/O, each answering questions about itself only.

`Question -> [Sample] -> Clustering -> Signals -> Decision -> Answer`
"""

from demur.types.answer import Answer, Answered, CacheUse, CalibrationInfo, Decision, Guarantee, Work
from demur.types.entailment import Judgement, Pair, Statement, Verdict
from demur.types.evidence import Cluster, Clustering, Signals, TokenConfidence, Uncertainty
from demur.types.question import CachePolicy, Message, Passage, Policy, Question, Rated, Retrieval, Sampling
from demur.types.sample import Sample, max_n_tokens
from demur.types.vocabulary import (
    ANONYMOUS,
    ELSEWHERE,
    Action,
    AnswerStrategy,
    CacheMode,
    CacheStatus,
    Degradation,
    LogprobSource,
    OnAbstain,
    OnDeadline,
    Reason,
    Role,
    SamplingMode,
    Scope,
    SignalName,
)

__all__ = [
    "ANONYMOUS",
    "ELSEWHERE",
    "Action",
    "Answer",
    "AnswerStrategy",
    "Answered",
    "CacheMode",
    "CachePolicy",
    "CacheStatus",
    "CacheUse",
    "CalibrationInfo",
    "Cluster",
    "Clustering",
    "Decision",
    "Degradation",
    "Guarantee",
    "Judgement",
    "LogprobSource",
    "Message",
    "OnAbstain",
    "OnDeadline",
    "Pair",
    "Passage",
    "Policy",
    "Question",
    "Rated",
    "Reason",
    "Retrieval",
    "Role",
    "Sample",
    "Sampling",
    "SamplingMode",
    "Scope",
    "SignalName",
    "Signals",
    "Statement",
    "TokenConfidence",
    "Uncertainty",
    "Verdict",
    "Work",
    "max_n_tokens",
]
