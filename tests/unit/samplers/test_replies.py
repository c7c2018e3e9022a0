"""Completions as they come over the wire."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import BackendError
from demur.samplers.replies import Reply, clean_logprobs, read_reply


def reply(*choices: dict[str, Any], **usage: int) -> bytes:
    return json.dumps({"choices": list(choices), "usage": usage}).encode()


def chat(content: Any, logprobs: Any = None, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"message": {"content": content, **message}, "logprobs": logprobs, "finish_reason": finish_reason}


@given(st.lists(st.floats(max_value=0, min_value=-9998), min_size=1))
def test_logprobs_of_probabilities_are_kept(logprobs: list[float]) -> None:
    """As they are."""
    assert clean_logprobs(list(logprobs)) == tuple(logprobs)


@pytest.mark.parametrize("wrong", [None, -9999.0, -1e9, 0.1, math.nan, math.inf, -math.inf])
@given(before=st.lists(st.floats(-50, 0)), after=st.lists(st.floats(-50, 0)))
def test_one_that_is_none_voids_them_all(wrong: float | None, before: list[float], after: list[float]) -> None:
    """Wherever it stands."""
    assert clean_logprobs([*before, wrong, *after]) is None


def test_rounding_above_certainty_is_certainty() -> None:
    """A hair above 0 comes from the arithmetic of a softmax."""
    assert clean_logprobs([-1.0, 1e-7]) == (-1.0, 0.0)
    assert clean_logprobs([]) is None


def test_both_wire_forms_of_logprobs_are_read() -> None:
    """Chat's list of objects, and the parallel lists of plain completions (which llama.cpp writes as the former)."""
    content = [{"token": "Par", "logprob": -0.5}, {"token": "is", "logprob": -0.25}]
    lists = {"tokens": ["Par", "is"], "token_logprobs": [-0.5, -0.25]}
    plain = {"text": "Paris", "finish_reason": "stop"}
    for choice in (
        chat("Paris", {"content": content}),
        {**plain, "logprobs": lists},
        {**plain, "logprobs": {"content": content}},
    ):
        read = read_reply(reply(choice)).choices[0]
        assert (read.text, read.tokens, read.logprobs) == ("Paris", ("Par", "is"), (-0.5, -0.25))


@pytest.mark.parametrize(
    "logprobs",
    [None, [], {}, "x", {"content": []}, {"content": None}, {"content": [{"tok": 1}]}, {"content": [{"token": "a"}]},
     {"tokens": ["a", "b"], "token_logprobs": [-1.0]}, {"tokens": ["a"], "token_logprobs": [None]}],
    ids=str,
)  # fmt: skip
def test_malformed_logprobs_are_none_and_the_text_is_kept(logprobs: Any) -> None:
    """An answer without scores is still an answer."""
    read = read_reply(reply(chat("Paris", logprobs))).choices[0]
    assert (read.text, read.tokens, read.logprobs) == ("Paris", None, None)


@pytest.mark.parametrize(
    ("told", "meant"),
    [("stop", "stop"), ("length", "length"), ("max_tokens", "length"), ("eos_token", "stop"), (None, "stop")],
)
def test_the_reason_to_end_is_translated(told: str | None, meant: str) -> None:
    """Servers have their own words."""
    assert read_reply(reply(chat("Paris", finish_reason=told))).choices[0].finish_reason == meant


@pytest.mark.parametrize("told", ["content_filter", "abort", "error"])
def test_a_withheld_choice_is_none(told: str) -> None:
    """The others stay, in their order."""
    two = {**chat("Paris"), "index": 1}, {**chat("", finish_reason=told), "index": 0}
    assert [c.text for c in read_reply(reply(*two)).choices] == ["Paris"]


def test_thinking_apart_is_left_out_of_the_scores() -> None:
    """Servers list the thinking's logprobs with the answer's."""
    rows = [("Hm", -0.1), ("</think>", -0.2), ("Paris", -0.3), ("<|im_end|>", -0.4)]
    logprobs = {"content": [{"token": t, "logprob": p} for t, p in rows]}
    read = read_reply(reply(chat("Paris", logprobs, reasoning_content="Hm"), completion_tokens=4)).choices[0]
    assert (read.logprobs, read.n_tokens) == ((-0.3, -0.4), 4)


def test_scores_that_cannot_be_told_from_the_thinkings_are_none() -> None:
    """Here the tokens spell something else."""
    logprobs = {"content": [{"token": "???", "logprob": -0.1}]}
    assert read_reply(reply(chat("Paris", logprobs, reasoning="Hm"))).choices[0].logprobs is None


def test_content_in_parts_and_refusals_are_texts() -> None:
    """Some servers send thinking and text as parts; a refusal is what the model said."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Paris"}]
    assert read_reply(reply(chat(parts))).choices[0].text == "Paris"
    assert read_reply(reply(chat(None, refusal="I cannot say."))).choices[0].text == "I cannot say."


TOLD = {"content": [{"token": "Paris", "logprob": -0.3}]}


@pytest.mark.parametrize(
    ("choices", "n_tokens", "is_own"),
    [
        ([chat("Paris", TOLD)], 9, True),
        ([chat("Paris", TOLD, reasoning_content="Hm")], 9, True),
        ([chat("Paris", TOLD), chat("Paris", TOLD)], 1, True),
        ([chat("Paris", TOLD, reasoning_content="Hm"), chat("Paris", TOLD)], 1, False),
        ([chat("Paris"), chat("Paris")], 5, False),
    ],
    ids=["alone", "alone, thinking apart", "two", "two, thinking apart", "two without logprobs"],
)
def test_a_count_is_a_choice_s_own_or_says_that_it_is_not(choices: list[Any], n_tokens: int, is_own: bool) -> None:
    """Of a call of nine tokens: the longest may have eight of them."""
    read = read_reply(reply(*choices, completion_tokens=9)).choices[0]
    assert (read.n_tokens, read.has_own_count) == (n_tokens, is_own)


@pytest.mark.parametrize(("total", "shares"), [(7, [3, 2, 2]), (None, [None, None, None])])
def test_tokens_of_a_call_are_shared_evenly_where_only_the_sum_is_known(total: int | None, shares: list[Any]) -> None:
    """The sum, which is what is reported, stays exact."""
    usage = {} if total is None else {"completion_tokens": total}
    read = read_reply(reply(chat("a"), chat("b"), chat("c"), **usage))
    assert [c.n_tokens for c in read.choices] == shares


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"null", b"[]", b"{}", b'{"choices": []}', b'{"choices": [1]}', b'{"error": {"message": "no"}}',
     b'{"choices": [{"text": "Orl\xc3"}]}', b'{"choices": [{"text": "a"}'],
    ids=str,
)  # fmt: skip
def test_anything_else_is_an_error(content: bytes) -> None:
    """And none of it reaches the message."""
    with pytest.raises(BackendError, match="no completion that can be read") as caught:
        read_reply(content)
    assert "html" not in str(caught.value)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    """It reads, or says that it cannot."""
    try:
        read = read_reply(content)
    except BackendError:
        return
    assert isinstance(read, Reply)
