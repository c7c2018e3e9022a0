"""What of a growing text will stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.samplers.reasoning import strip_reasoning
from demur.samplers.settled import first_stop, settled

CASES: list[tuple[str, tuple[str, ...], str]] = [
    ("It is Paris", (), "It is Paris"),
    (" It is ", (), "It is"),
    ("caf\ufffd", (), "caf"),
    ("Paris\nQ", ("\nQuestion",), "Paris"),
    ("Paris\nQx", ("\nQuestion",), "Paris\nQx"),
    ("Paris. END and more", ("END",), "Paris."),
    ("a", ("abc", "b"), ""),
    ("ba", ("a", "baa"), "b"),
    ("baa", ("a", "baa"), "b"),
    ("<thi", (), ""),
    ("<", (), ""),
    ("<b>", (), "<b>"),
    ("<think>Which city", (), ""),
    ("<think>Which city?</think>\n\nPar", (), "Par"),
    ("[THINK]no[/THINK] yes", (), "yes"),
    ("", (), ""),
]


@pytest.mark.parametrize(("text", "stop", "expected"), CASES, ids=repr)
def test_what_may_change_is_held_back(text: str, stop: tuple[str, ...], expected: str) -> None:
    """Blanks at the end, half a character, the beginning of a stop string, thinking."""
    assert settled(text, stop) == expected


@pytest.mark.parametrize(
    ("stop", "expected"), [((), None), (("x", ""), None), (("c",), 2), (("bcd", "c"), 2), (("c", "bc"), 1)]
)
def test_the_stop_string_that_is_whole_first_ends_the_text(stop: tuple[str, ...], expected: int | None) -> None:
    """In abcd; of two that end together the longer one, which leaves less."""
    assert first_stop("abcd", stop) == expected


@given(
    st.booleans(),
    st.text("ab \n.<th", max_size=30),
    st.lists(st.text("ab \n", min_size=1, max_size=4), max_size=3),
)
def test_what_was_said_stays_said(thinks: bool, written: str, stop: list[str]) -> None:
    """Letter by letter: each time what was said before and more, and in the end no more than the answer."""
    text = f"<think>a b</think>{written}" if thinks else written
    answer = strip_reasoning(text)
    cut = first_stop(answer, stop)
    said = [settled(text[:n], stop) for n in range(len(text) + 1)]
    for before, after in zip(said, [*said[1:], answer[:cut].strip()], strict=True):
        assert after.startswith(before)
