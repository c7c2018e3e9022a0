"""What becomes of `user`."""

from __future__ import annotations

from demur.api.requests import AnswerRequest, hashed_user
from demur.settings import DefaultsSettings


def test_a_user_is_a_hash_before_it_is_anything_else() -> None:
    """Always the same for one tenant, another for each tenant, and never the name."""
    question = AnswerRequest(prompt="q", user="zoe@example.org").to_domain(DefaultsSettings(), "m", "shop")
    assert question.tenant == "shop"
    assert question.user == hashed_user("zoe@example.org", "shop")
    assert question.user != hashed_user("zoe@example.org", "other")
    assert question.user != hashed_user("max@example.org", "shop")
    assert len(question.user or "") == 32
    assert "zoe" not in repr(question)


def test_without_a_user_there_is_none() -> None:
    """Nothing is made up."""
    assert AnswerRequest(prompt="q").to_domain(DefaultsSettings(), "m").user is None
