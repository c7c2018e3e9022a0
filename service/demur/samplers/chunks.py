"""A completion that comes in chunks, put together as if it had come in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demur.errors import BackendError

_TEXTS = ("content", "reasoning", "reasoning_content", "refusal")


@dataclass
class Assembly:
    """The first choice of a stream, in either wire form."""

    is_chat: bool
    texts: dict[str, str] = field(default_factory=dict)
    logprobs: dict[str, list[Any]] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Any = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.texts.get("content", "")

    def add(self, chunk: Mapping[str, Any]) -> None:
        """What is not shaped as a chunk is passed over; the whole is read strictly in the end."""
        self.usage = chunk.get("usage") or self.usage
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and choice.get("index", 0) == 0:
                self._add(choice)

    def completion(self) -> dict[str, Any]:
        """Raises: BackendError, where the stream broke off."""
        if self.finish_reason is None:
            raise BackendError("the language model's server broke off its answer")
        said: dict[str, Any] = {"message": dict(self.texts)} if self.is_chat else {"text": self.text}
        choice = {"index": 0, "finish_reason": self.finish_reason, "logprobs": self.logprobs or None, **said}
        return {"choices": [choice], "usage": self.usage}

    def _add(self, choice: Mapping[str, Any]) -> None:
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        said = choice.get("delta") if self.is_chat else {"content": choice.get("text")}
        for name in _TEXTS:
            piece = said.get(name) if isinstance(said, dict) else None
            if isinstance(piece, str):
                self.texts[name] = self.texts.get(name, "") + piece
        rows = choice.get("logprobs")
        for name, values in rows.items() if isinstance(rows, dict) else []:
            if isinstance(values, list):
                self.logprobs.setdefault(name, []).extend(values)
