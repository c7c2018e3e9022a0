"""What a question is remembered under."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from demur.caching.names import UNIMPORTANT, Names, digest, question_digest
from demur.types import CachePolicy, Message, Passage, Policy, Question, Rated, Retrieval, Sample, Sampling
from tests.unit.caching.answers import question

ASKED = question()
IMPORTANT: dict[str, list[Any]] = {
    "messages": [
        (Message("user", "Capital of France? "),),
        (Message("system", "Be brief."), *ASKED.messages),
        (Message("assistant", "Capital of France?"), *ASKED.messages),
    ],
    "context": [(Passage("Paris is."),), (Passage("Paris is.", title="France"),), (Passage("Paris is."),) * 2],
    "sampling": [
        Sampling(n=11),
        Sampling(temperature=0.5),
        Sampling(top_p=0.5),
        Sampling(max_tokens=8),
        Sampling(stop=("\n",)),
        Sampling(seed=0),
        Sampling(seed=7),
        Sampling(cache_scope="team-a"),
        Sampling(passed_on='{"top_k": 40}'),
    ],
    "policy": [Policy(answer_min=0.9), Policy(groundedness_min=0.0), Policy(name="custom")],
    "retrieval": [Retrieval(attempt=1), Retrieval(available=False), Retrieval(id="wiki")],
    "answer_strategy": ["mode", "greedy"],
    "on_deadline": ["error"],
    "strict": [True],
    "tenant": ["team-a", "team-b"],
    "rated": [Rated(Sample("Paris")), Rated(Sample("Paris"), (Sample("Lyon"),))],
}
OTHER: dict[str, list[Any]] = {
    "timeout_seconds": [1.0],
    "on_abstain": ["omit"],
    "metadata": [{"a": "b"}],
    "cache": [CachePolicy("refresh", 7)],
    "quality": ["fast"],
    "user": ["somebody"],
}


def test_every_field_is_one_or_the_other() -> None:
    """Whoever adds a field to Question decides here whether two answers may differ by it."""
    assert {f.name for f in fields(Question)} == IMPORTANT.keys() | OTHER.keys()
    assert OTHER.keys() == UNIMPORTANT


def test_what_changes_the_answer_changes_the_digest() -> None:
    """Each of them, to another digest than all the others."""
    changed = [replace(ASKED, **{name: value}) for name, values in IMPORTANT.items() for value in values]
    digests = {question_digest(asked, "models") for asked in [ASKED, *changed]}
    assert len(digests) == len(changed) + 1
    assert question_digest(ASKED, "other models") not in digests


@pytest.mark.parametrize("name", sorted(OTHER))
def test_what_does_not_leaves_it(name: str) -> None:
    for value in OTHER[name]:
        assert question_digest(replace(ASKED, **{name: value}), "m") == question_digest(ASKED, "m")


@given(st.lists(st.text(max_size=3), max_size=3), st.lists(st.text(max_size=3), max_size=3))
def test_parts_cannot_be_shifted(one: list[str], other: list[str]) -> None:
    """("ab", "c") and ("a", "bc") differ; the same parts agree."""
    assert (digest(*one) == digest(*other)) == (one == other)


def test_half_a_surrogate_pair_has_a_digest() -> None:
    """Texts need not be Unicode to be asked in process."""
    assert len(question_digest(question("\ud800"), "m")) == 32


def test_the_three_names_of_a_question_share_a_node() -> None:
    """Names with the same part in braces lie in the same slot; every name starts with the prefix."""
    names, asked = Names("mine"), question_digest(ASKED, "m")
    three = [names.result(asked), names.lock(asked), names.done(asked)]
    assert len(set(three)) == 3
    assert len({key_slot(name.encode()) for name in three}) == 1
    of = [*three, names.question_of("ans_1", "a"), names.pairs("a", "nli")]
    assert all(name.startswith("mine:") for name in of)


def test_tenants_and_models_have_names_of_their_own() -> None:
    names = Names("demur")
    assert names.pairs("a", "nli") != names.pairs("b", "nli")
    assert names.pairs("a", "nli") != names.pairs("a", "nli 2")
    assert names.question_of("ans_1", "a") != names.question_of("ans_1", "b")
