"""Questions with known answers, one JSON object a line: asked of the model, or replayed from recorded samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from demur.errors import DatasetUnreadable
from demur.types import Message, Passage

MAX_ROWS = 100_000
MAX_LINE_BYTES = 1_048_576

Text = Annotated[str, Field(min_length=1, max_length=32_000)]
Texts = Annotated[list[Text], Field(max_length=256)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MessageRow(_Row):
    role: Literal["system", "user", "assistant", "developer"]
    content: str


class PassageRow(_Row):
    text: Text
    id: str | None = None
    title: str | None = None


class DatasetRow(_Row):
    """One question. `references`: answers that are right; `label`: whether `answer` is, where somebody judged it.

    `answer` and `samples` are what a model said to it, the T=0 answer and at least two others: they are replayed in
    place of asking. `context_answer` and `context_samples` are what it said with the passages of `context`. Without a
    T=0 answer the representative of the samples is judged, and a profile fitted on such rows is for such models alone.
    `stated_confidence` is what the model said when it was asked how sure it is of its answer from memory.
    """

    id: Annotated[str, Field(min_length=1, max_length=256)]
    prompt: Text | None = None
    messages: list[MessageRow] | None = Field(None, min_length=1, max_length=128)
    references: Texts = []
    context: list[PassageRow] = Field([], max_length=32)
    answer: str | None = None
    samples: list[str] | None = Field(None, min_length=2, max_length=256)
    context_answer: str | None = None
    context_samples: list[str] | None = Field(None, min_length=2, max_length=256)
    label: bool | None = None
    stated_confidence: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _whole(self) -> DatasetRow:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("needs exactly one of `prompt` and `messages`")
        if not self.references and self.label is None:
            raise ValueError("needs `references`, or a `label` for its `answer`")
        if self.label is not None and self.answer is None:
            raise ValueError("a `label` needs the `answer` that it judges")
        if self.messages is not None and not any(m.role == "user" and m.content.strip() for m in self.messages):
            raise ValueError("`messages` needs one of role `user` that is not blank")
        return self

    @property
    def conversation(self) -> tuple[Message, ...]:
        if self.prompt is not None:
            return (Message("user", self.prompt),)
        return tuple(Message(m.role, m.content) for m in self.messages or [])

    @property
    def passages(self) -> tuple[Passage, ...]:
        return tuple(Passage(p.text, p.id, p.title) for p in self.context)


@dataclass(frozen=True, slots=True)
class Dataset:
    """`name` is the file's, without its ending; `sha256` is of its bytes."""

    name: str
    rows: Sequence[DatasetRow]
    sha256: str

    @property
    def is_recorded(self) -> bool:
        return all(row.samples is not None for row in self.rows)


def read_dataset(path: Path) -> Dataset:
    """Raises DatasetUnreadable, which names the line and the field."""
    digest, rows, seen = hashlib.sha256(), [], set()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                digest.update(line)
                if not line.strip():
                    continue
                row = _parse(line, f"{path}, line {number}")
                if row.id in seen:
                    raise DatasetUnreadable(f"{path}, line {number}: the id {row.id!r} was used before")
                seen.add(row.id)
                rows.append(row)
                if len(rows) > MAX_ROWS:
                    raise DatasetUnreadable(f"{path} has more than {MAX_ROWS} questions; split it")
    except OSError as error:
        raise DatasetUnreadable(f"cannot read {path}: {error.strerror}") from error
    if not rows:
        raise DatasetUnreadable(f"{path} has no questions")
    if len({row.samples is None for row in rows}) > 1:
        raise DatasetUnreadable(f"{path}: either all questions carry `samples`, to be replayed, or none")
    return Dataset(path.stem, rows, digest.hexdigest())


def _parse(line: bytes, where: str) -> DatasetRow:
    if len(line) > MAX_LINE_BYTES:
        raise DatasetUnreadable(f"{where}: longer than {MAX_LINE_BYTES} bytes")
    try:
        return DatasetRow.model_validate_json(line)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors()[:3])
        raise DatasetUnreadable(f"{where}: {wrong}") from error
