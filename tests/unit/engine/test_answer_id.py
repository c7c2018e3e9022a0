"""Identifiers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from demur.engine.answer_id import answer_id

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_ids_sort_by_time() -> None:
    """A later answer has a greater id."""
    ids = [answer_id(NOW + timedelta(milliseconds=k)) for k in range(100)]
    assert ids == sorted(ids)


def test_ids_are_ulids_and_differ() -> None:
    """26 characters of Crockford's alphabet, 80 random bits."""
    ids = {answer_id(NOW) for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(i) == len("ans_") + 26 and not set(i[4:]) & set("ILOU") for i in ids)


def test_the_time_is_readable() -> None:
    """The first ten characters are the milliseconds, base 32."""
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    milliseconds = 0
    for character in answer_id(NOW)[4:14]:
        milliseconds = 32 * milliseconds + alphabet.index(character)
    assert milliseconds == int(NOW.timestamp() * 1000)
