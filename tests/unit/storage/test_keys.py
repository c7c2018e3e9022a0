"""Keys in Redis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from demur.storage.keys import Keys

KEYS = Keys("demur")


def test_keys_are_those_of_the_interface() -> None:
    """Documented, so that operators can look."""
    assert KEYS.answer("ans_1") == "demur:ans:{ans_1}"
    assert KEYS.feedback("ans_1") == "demur:feedback:{ans_1}"
    assert KEYS.calibration("cal_1") == "demur:cal:{cal_1}"
    assert KEYS.listed("answers") == "demur:list:{answers}"
    assert KEYS.idempotency("alice", "k").startswith("demur:idem:{alice}:")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_an_answer_and_its_feedback_share_a_slot(answer_id: str) -> None:
    """Whatever is in the id: a transaction over both is possible on a cluster."""
    assert key_slot(KEYS.answer(answer_id).encode()) == key_slot(KEYS.feedback(answer_id).encode())


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_two_names_never_meet(one: str, other: str) -> None:
    """Ids that differ have keys that differ."""
    assert (KEYS.answer(one) == KEYS.answer(other)) is (one == other)


@pytest.mark.parametrize(("scope", "key"), [("a", "b:c"), ("a:b", "c"), ("a}", "{b")])
def test_scope_and_key_do_not_run_into_each_other(scope: str, key: str) -> None:
    assert KEYS.idempotency(scope, key) != KEYS.idempotency(f"{scope}{key[0]}", key[1:])
