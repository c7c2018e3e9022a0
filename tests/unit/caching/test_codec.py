"""Answers as bytes, and back."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import TzInfo

from demur.caching.codec import MAX_BYTES, SCHEMA, Garbled, Kept, Stale, decode, encode
from demur.types import (
    Answer,
    CalibrationInfo,
    Guarantee,
    Policy,
    Question,
    Sample,
    SignalName,
    TokenConfidence,
    Uncertainty,
    Work,
)
from tests.unit.caching.answers import answer, question

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SHARES = st.floats(0, 1)
KEPT = Kept(answer(question()), kept_at=1_795_337_034.25, ttl_seconds=3600.0)


def _optional(strategy: st.SearchStrategy[float]) -> st.SearchStrategy[float | None]:
    return st.none() | strategy


samples = st.builds(Sample, token_logprobs=st.none() | st.lists(NUMBERS, max_size=5).map(tuple))
policies = st.builds(Policy, st.text(), SHARES, SHARES, SHARES, _optional(SHARES))
fitted = st.builds(
    CalibrationInfo, fitted_at=st.datetimes(timezones=st.just(TzInfo(0))).map(lambda at: at.replace(fold=0))
)
promised = st.builds(Guarantee, alpha=SHARES, delta=SHARES)
answers = st.builds(
    Answer,
    policy=policies,
    guarantee=st.none() | promised,
    calibration=st.none() | fitted,
    signals=st.dictionaries(st.sampled_from(get_args(SignalName)), NUMBERS),
    question=st.builds(
        Question,
        context=st.just(()),
        sampling=st.just(question().sampling),
        policy=policies,
        timeout_seconds=NUMBERS,
    ),
    chosen=samples,
    confidence=NUMBERS,
    uncertainty=st.builds(
        Uncertainty, NUMBERS, _optional(NUMBERS), _optional(NUMBERS), _optional(NUMBERS), st.integers(), *[NUMBERS] * 3
    ),
    token_confidence=st.none() | st.builds(TokenConfidence, *[NUMBERS] * 5),
    groundedness=_optional(NUMBERS),
    clusters=st.just(KEPT.answer.clusters),
    samples=st.lists(samples, max_size=3).map(tuple),
    greedy=st.none() | samples,
    work=st.builds(Work, *[st.integers()] * 3, st.booleans(), *[st.integers()] * 3, *[NUMBERS] * 5),
)


@given(answers, NUMBERS, NUMBERS)
def test_every_answer_comes_back_to_the_last_bit(made: Answer, kept_at: float, ttl: float) -> None:
    """All texts, numbers, missing values and the sign of zero."""
    kept = Kept(made, kept_at, ttl)
    back = decode(encode(kept))
    assert back == kept
    assert repr(back) == repr(kept)


def test_answers_are_compressed() -> None:
    """60 kB of text in less than three."""
    long = replace(KEPT, answer=replace(KEPT.answer, text="Paris " * 10_000))
    assert len(encode(long)) < 3000
    assert decode(encode(long)) == long


def test_another_schema_is_stale() -> None:
    """Whatever follows the header."""
    written = encode(KEPT)
    with pytest.raises(Stale):
        decode(written.replace(SCHEMA, b"0" * len(SCHEMA), 1))
    with pytest.raises(Stale):
        decode(b"demur:older")


def _headed(body: bytes) -> bytes:
    return b"demur:" + SCHEMA + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff",
        b"deflated",
        _headed(b""),
        _headed(b"{}"),
        _headed(zlib.compress(b"{}")),
        _headed(zlib.compress(b"null")),
        _headed(zlib.compress(b"\xff\xfe")),
        _headed(zlib.compress(b"x" * 5000)[:-9]),
        encode(KEPT)[:-5],
        encode(KEPT) + b"}",
    ],
)
def test_garbage_is_garbled(data: bytes) -> None:
    """Never another error, which would be a 500."""
    with pytest.raises(Garbled):
        decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for bytes_ in (data, _headed(data), _headed(zlib.compress(data))):
        with pytest.raises((Garbled, Stale)):
            decode(bytes_)


def test_a_compression_bomb_is_not_inflated() -> None:
    """A few kilobytes that claim to be more than an answer may be."""
    bomb = zlib.compress(b" " * (MAX_BYTES + 1))
    assert len(bomb) < 100_000
    with pytest.raises(Garbled):
        decode(_headed(bomb))


def test_what_json_cannot_tell_is_refused() -> None:
    """Half of a surrogate pair, which some language model servers send."""
    with pytest.raises(ValueError, match="surrogate"):
        encode(replace(KEPT, answer=replace(KEPT.answer, text="\ud800")))


def test_ages_stay_within_the_time_to_live() -> None:
    """Whatever the other replica's clock says."""
    assert replace(KEPT, kept_at=math.inf).age_seconds == 0
    assert replace(KEPT, kept_at=0.0).age_seconds == 3600
