"""Where the thinking ends and the answer begins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.samplers.reasoning import first_answer_token, strip_reasoning


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Paris", "Paris"),
        (" Paris ", " Paris "),
        ("<think>France, so</think>\n\nParis", "Paris"),
        ("\n<think>\n</think>\nParis\n", "Paris\n"),
        ("France, so\n</think>\n\nParis", "Paris"),
        ("<think>a</think> no, <think>b</think>Paris", "Paris"),
        ("[THINK]hm[/THINK]Paris", "Paris"),
        ("<think>France, so it must", ""),
        ("<think></think>", ""),
        ("Use the <think> tag", "Use the <think> tag"),
        ("<b>Paris</b>", "<b>Paris</b>"),
    ],
)
def test_only_the_answer_is_left(text: str, answer: str) -> None:
    """Opened in the prompt, opened in the text, never closed, or not there at all."""
    assert strip_reasoning(text) == answer


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="<>[]")))
def test_whatever_is_thought_is_gone(thought: str, answer: str) -> None:
    """And the answer keeps all but its leading blanks."""
    assert strip_reasoning(f"<think>{thought}</think>{answer}") == answer.lstrip()


@pytest.mark.parametrize(
    ("tokens", "answer", "first"),
    [
        (["<think>", "hm", "</think>", "\n\n", "Par", "is"], "Paris", 4),
        (["<think>", "hm", "</think>", "\n\n", "Par", "is", "<|im_end|>"], "Paris", 4),
        (["Paris", "?", "</think>", " Paris", "</s>"], "Paris", 3),
        (["so", "</think>", " It", " is", " Paris", "."], "It is Paris.", 2),
        (["so", "</think>It", " is"], "It is", None),
        (["something", " else"], "Paris", None),
        (["Par", "is"], "Paris", 0),
        (["hm"], "", None),
        ([], "Paris", None),
    ],
)
def test_the_answers_tokens_are_found_from_the_end(tokens: list[str], answer: str, first: int | None) -> None:
    """None where a token is half thought and half answer, or the tokens are those of another text."""
    assert first_answer_token([t.encode() for t in tokens], answer) == first


@given(st.text(min_size=1).filter(lambda t: t.strip()), st.integers(1, 5))
def test_tokens_may_split_characters(answer: str, size: int) -> None:
    """Spelled in bytes, they need not be characters each."""
    spelled = answer.strip().encode()
    tokens = [b"</think>", *(spelled[i : i + size] for i in range(0, len(spelled), size))]
    found = first_answer_token(tokens, answer)
    assert found is not None
    assert b"".join(tokens[found:]).strip() == spelled
