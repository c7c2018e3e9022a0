"""Everything that can go wrong, as one tree.

DemurError
├── InvalidRequest                 the caller can mend it
│   ├── MalformedJSON · BodyTooLarge · UnsupportedMediaType
│   ├── ValidationFailed           names each field
│   ├── ModelNotFound
│   └── ContextLengthExceeded
├── Unavailable                    try again later (`retry_after_seconds`)
│   ├── Overloaded · Draining
│   └── DegradedRefused            `strict` was asked for and a signal is missing
├── BackendError                   the language model failed
├── EntailmentUnavailable          the NLI model failed
└── DeadlineExceeded

A class's `code` is the slug of the HTTP problem, the label in metrics and the name in logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class DemurError(Exception):
    """`str(error)` is written for the caller: what happened, and how to mend it."""

    code: ClassVar[str] = "internal"
    retry_after_seconds: float | None = None


class InvalidRequest(DemurError):
    code = "invalid-request"


class MalformedJSON(InvalidRequest):
    code = "malformed-json"


class BodyTooLarge(InvalidRequest):
    code = "body-too-large"


class UnsupportedMediaType(InvalidRequest):
    code = "unsupported-media-type"


@dataclass(frozen=True, slots=True)
class FieldError:
    """`pointer` is a JSON pointer (RFC 6901) to the field."""

    pointer: str
    detail: str


class ValidationFailed(InvalidRequest):
    code = "validation-failed"

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{e.pointer or 'body'}: {e.detail}" for e in errors))
        self.errors = errors


class ModelNotFound(InvalidRequest):
    code = "model-not-found"


class ContextLengthExceeded(InvalidRequest):
    code = "context-length-exceeded"

    def __init__(self, *, n_tokens: int, max_tokens: int, limit: int) -> None:
        super().__init__(
            f"the prompt is {n_tokens} tokens and max_tokens asks for {max_tokens} more, but the model reads at most "
            f"{limit}; shorten the prompt or the context, or lower sampling.max_tokens"
        )


class Unavailable(DemurError):
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    code = "overloaded"


class Draining(Unavailable):
    code = "draining"


class DegradedRefused(Unavailable):
    code = "degraded-refused"


class BackendError(DemurError):
    code = "backend-error"


class EntailmentUnavailable(DemurError):
    code = "nli-unavailable"


class DeadlineExceeded(DemurError):
    code = "deadline-exceeded"
