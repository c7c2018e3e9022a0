"""How passages reach the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.engine.prompting import PromptTemplate
from demur.types import Message, Passage, Question


def asked(text: str, *passages: Passage) -> Question:
    return Question((Message("system", "Be brief."), Message("user", text)), passages)


def test_without_passages_the_conversation_is_untouched() -> None:
    """No template, no rewording."""
    question = asked("Why?")
    assert PromptTemplate().messages(question) == question.messages


def test_passages_are_numbered_and_titled() -> None:
    """The form that the bundled model was trained to read."""
    question = asked("Why?", Passage("One."), Passage("Two.", title="T"))
    system, user = PromptTemplate().messages(question)
    assert system.content == "Be brief."
    assert user.content == "Context:\n[1] One.\n[2] T: Two.\n\nQuestion: Why?"


@given(st.text(), st.text())
def test_placeholders_in_the_text_stay_text(passage: str, question: str) -> None:
    """Whatever stands in passage or question reaches the model unchanged."""
    content = PromptTemplate("$passages|$question").messages(asked(f"u{question}", Passage(passage)))[-1].content
    assert content == f"[1] {passage}|u{question}"


@pytest.mark.parametrize(
    "text", ["$question only", "no placeholders", "$passages $question $", "$passages $question $other"]
)
def test_a_template_must_say_where_both_go(text: str) -> None:
    """A missing or unknown placeholder is refused when the service starts, not at the first question."""
    with pytest.raises(ValueError, match="template"):
        PromptTemplate(text)
