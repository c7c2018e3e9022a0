"""Two statements share a window: every answer before any question."""

from hypothesis import given
from hypothesis import strategies as st

from demur.entailment.fitting import TokenizedStatement, Tokens, fit, shares


def _words(text: str) -> Tokens:
    """Every word is a token."""
    spans, start = [], 0
    for word in text.split(" ") if text else []:
        spans.append((start, start + len(word.encode())))
        start = spans[-1][1] + 1
    return Tokens(text, tuple(spans))


def _statement(question: str, answer: str) -> TokenizedStatement:
    return TokenizedStatement(_words(question), _words(answer))


def test_what_fits_is_left_alone() -> None:
    first, second, is_cut = fit(_statement("a b", "c"), _statement("a b", "d e"), 7)
    assert (first.question, first.answer, second.question, second.answer) == ("a b", "c", "a b", "d e")
    assert not is_cut


def test_the_end_of_a_question_is_kept() -> None:
    first, second, is_cut = fit(_statement("a b größe d", "x y"), _statement("a b größe d", "z"), 7)
    assert (first.question, first.answer) == ("größe d", "x y")
    assert (second.question, second.answer) == ("größe d", "z")
    assert is_cut


def test_the_beginning_of_an_answer_is_kept() -> None:
    first, second, is_cut = fit(_statement("q", "日 本 c d e"), _statement("q", "x"), 4)
    assert (first.question, first.answer) == ("", "日 本 c")
    assert (second.question, second.answer) == ("", "x")
    assert is_cut


def test_a_text_that_was_never_read_to_its_end_is_cut() -> None:
    cut = TokenizedStatement(_words("a"), _words("b"), is_cut=True)
    assert fit(cut, _statement("a", "c"), 100)[2]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_shares_fill_the_room_and_no_more(room: int, first: int, second: int) -> None:
    left, right = shares(room, first, second)
    assert left + right <= room + 1 if first + second > room else (left, right) == (first, second)
    assert left <= first
    assert right <= second
    assert left >= min(first, room // 2)
    assert right >= min(second, room // 2)


@given(st.lists(st.text("aé日", min_size=1, max_size=3), max_size=6), st.integers(0, 8))
def test_first_and_last_are_whole_tokens(words: list[str], n: int) -> None:
    tokens = _words(" ".join(words))
    assert tokens.first(n) == " ".join(words[:n])
    assert tokens.last(n) == " ".join(words[max(0, len(words) - n) :])
