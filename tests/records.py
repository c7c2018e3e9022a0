"""Records for the tests of what keeps them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from demur.engine.answer_id import answer_id
from demur.storage.records import AnswerRecord, Calibration, Feedback, KeptCluster, KeptText
from demur.types import (
    Action,
    Degradation,
    Message,
    Passage,
    Policy,
    Reason,
    Retrieval,
    Sampling,
    TokenConfidence,
    Uncertainty,
)

NOON = 1_795_348_800  # 2026-11-22 12:00 UTC


def record(created: int = NOON, **changes: Any) -> AnswerRecord:
    """Of an answer given at `created`, with every field filled in."""
    fields: dict[str, Any] = {
        "id": answer_id(datetime.fromtimestamp(created, UTC)),
        "tenant": "alice",
        "created": created,
        "model": "m",
        "nli_model": "nli",
        "quality": "balanced",
        "decision": Action.ANSWER,
        "reason": Reason.ABOVE_ANSWER_THRESHOLD,
        "confidence": 0.8,
        "is_calibrated": False,
        "policy": Policy(groundedness_min=0.5),
        "retrieval": Retrieval(id="wiki-2026", attempt=1),
        "sampling": Sampling(n=5, stop=("\n",), seed=7),
        "answer_strategy": "auto",
        "n_passages": 1,
        "uncertainty": Uncertainty(0.5, 0.31, None, 1.25, 2, 0.8, 0.9, 0.0),
        "token_confidence": TokenConfidence(0.97, 0.88, -0.09, -0.03, 1.03, 3, "greedy", "raw"),
        "groundedness": 0.75,
        "clusters": (KeptCluster(4, 0.86, False), KeptCluster(1, None, True)),
        "semantic_ids": (0, 0, 0, 1, 0),
        "chosen_cluster": 0,
        "greedy_cluster": 0,
        "sample_logprobs": (-0.1, -0.2, None, -3.0, -0.1),
        "degraded": (Degradation.UNCALIBRATED,),
        "profile": {"rule": "strict"},
        "metadata": {"team": "küche", "odd": 'a"\x00\U0001f600'},
        "user": "5f",
        "is_audit": False,
        "text": KeptText((Message("user", "Hauptstadt von Perú?"),), (Passage("Lima.", id="p1"),), "Lima", ("Lima",)),
    }
    return AnswerRecord(**{**fields, **changes})


def feedback(answer_id: str, **changes: Any) -> Feedback:
    fields: dict[str, Any] = {
        "answer_id": answer_id,
        "source": "human",
        "key": "alice",
        "created": NOON + 60,
        "label": "correct",
        "comment": "schön",
    }
    return Feedback(**{**fields, **changes})


def calibration(name: str, *, profile_key: str = "m|strict", created: int = NOON) -> Calibration:
    return Calibration(name, profile_key, created, {"a": 1.5, "thresholds": [0.1, None], "who": "ü{}"})
