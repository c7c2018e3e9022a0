"""How retrieved passages reach the model: a template turns passages and question into the last user message."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import Template

from demur.types import Message, Passage, Question

DEFAULT_TEMPLATE = "Context:\n$passages\n\nQuestion: $question"


class PromptTemplate:
    """`$passages` and `$question` are filled in; text that looks like a placeholder inside them stays text."""

    def __init__(self, text: str = DEFAULT_TEMPLATE) -> None:
        self._template = Template(text)
        missing = {"passages", "question"} ^ set(self._template.get_identifiers())
        if missing or not self._template.is_valid():
            raise ValueError(f"a prompt template needs $passages and $question, and $$ for a dollar sign; got {text!r}")

    @property
    def digest(self) -> str:
        """The same for the same template."""
        return hashlib.sha256(self._template.template.encode()).hexdigest()[:16]

    @classmethod
    def from_file(cls, path: Path | None) -> PromptTemplate:
        return cls(path.read_text(encoding="utf-8").rstrip("\n")) if path else cls()

    def messages(self, question: Question) -> tuple[Message, ...]:
        """The conversation to send: unchanged without passages, else with them in the last user message."""
        if not question.context:
            return question.messages
        last = max(i for i, m in enumerate(question.messages) if m.role == "user")
        filled = self._template.substitute(passages=_numbered(question.context), question=question.text)
        asked = replace(question.messages[last], content=filled)
        return (*question.messages[:last], asked, *question.messages[last + 1 :])


def _numbered(passages: Sequence[Passage]) -> str:
    return "\n".join(f"[{i}] {titled(p)}" for i, p in enumerate(passages, start=1))


def titled(passage: Passage) -> str:
    return f"{passage.title}: {passage.text}" if passage.title else passage.text
