"""What is kept of an answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from demur.api.requests import hashed_user
from demur.storage.records import AnswerRecord, Feedback
from demur.types import (
    Action,
    Answer,
    Cluster,
    Decision,
    Message,
    Passage,
    Policy,
    Question,
    Reason,
    Sample,
    Sampling,
    Uncertainty,
    Work,
)
from tests.unit.calibration.profiles import KEY

QUESTION = Question(
    (Message("user", "Capital?"),), (Passage("p"),), Sampling(n=3, stop=("x",)), tenant="alice", user="u-1"
)
SAMPLES = (
    Sample("Lima", 0, token_logprobs=(-1.0, -2.0)),
    Sample("Cusco", 1, token_logprobs=(-math.inf,)),
    Sample("Lima", 2),
)


def _answer(**changes: Any) -> Answer:
    fields: dict[str, Any] = {
        "id": "ans_1",
        "created": 1,
        "model": "m",
        "nli_model": None,
        "question": QUESTION,
        "text": "Cusco",
        "chosen": SAMPLES[1],
        "decision": Decision(Action.ABSTAIN, Reason.NON_ANSWER),
        "confidence": 0.5,
        "policy": Policy(),
        "guarantee": None,
        "calibration": None,
        "signals": {"agreement": 0.5},
        "uncertainty": Uncertainty(0.6, 0.5, None, None, 2, 0.33, 0.5, 0.0),
        "token_confidence": None,
        "groundedness": None,
        "clusters": (Cluster(0, "Lima", 2, None, (0, 2), False), Cluster(1, "Cusco", 1, None, (1,), True)),
        "samples": SAMPLES,
        "greedy": None,
        "greedy_cluster": None,
        "semantic_ids": (0, 1, 0),
        "degraded": (),
        "work": Work(),
    }
    return Answer(**{**fields, **changes})


def _kept(answer: Answer, *, is_audit: bool = False, keep_text: bool = False) -> AnswerRecord:
    return AnswerRecord.of(answer, {"rule": "strict"}, KEY, is_audit=is_audit, keep_text=keep_text)


def test_numbers_are_kept_and_words_are_not() -> None:
    """Cluster sizes, places, logprobs; -inf, which is no number to learn from, as None."""
    kept = _kept(_answer())
    assert [(c.size, c.non_answer) for c in kept.clusters] == [(2, False), (1, True)]
    assert kept.sample_logprobs == (-3.0, None, None)
    assert (kept.semantic_ids, kept.chosen_cluster, kept.n_passages) == ((0, 1, 0), 1, 1)
    assert (kept.text, kept.sampling.stop, kept.sampling.n) == (None, (), 3)
    assert (kept.tenant, kept.profile) == ("alice", {"rule": "strict"})


@pytest.mark.parametrize("why", [{"is_audit": True}, {"keep_text": True}])
def test_words_are_kept_for_audits_and_where_asked(why: dict[str, bool]) -> None:
    kept = _kept(_answer(), **why)
    assert kept.text is not None
    assert (kept.text.answer, kept.text.clusters) == ("Cusco", ("Lima", "Cusco"))
    assert (kept.text.messages, kept.text.context) == (QUESTION.messages, QUESTION.context)


def test_the_greedy_answer_has_its_own_place() -> None:
    """Chosen although no sample means the same: no cluster, never the first sample's."""
    greedy = Sample("Quito", 0, is_greedy=True)
    assert _kept(_answer(chosen=greedy, greedy=greedy, greedy_cluster=None)).chosen_cluster is None
    assert _kept(_answer(chosen=greedy, greedy=greedy, greedy_cluster=1)).chosen_cluster == 1


def test_a_user_is_kept_as_a_hash_of_the_tenants_own() -> None:
    """Neither readable, nor the same in two tenants' records: the boundary hashes it before it goes anywhere."""
    mine, others = hashed_user("u-1", "alice"), hashed_user("u-1", "bob")
    assert mine != others
    assert "u-1" not in mine
    assert _kept(_answer(question=replace(QUESTION, user=mine))).user == mine
    assert _kept(_answer(question=replace(QUESTION, user=None))).user is None


@pytest.mark.parametrize("verdict", [{}, {"label": "correct", "score": 1.0}])
def test_feedback_is_a_label_or_a_score(verdict: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either"):
        Feedback("ans_1", "human", "k", 1, **verdict)
