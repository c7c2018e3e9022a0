"""Everything that can go wrong, as one tree.

DemurError
├── InvalidRequest                 the caller can mend it
│   ├── MalformedJSON · BodyTooLarge · UnsupportedMediaType · BodyTooSlow
│   ├── ValidationFailed           names each field
│   ├── ModelNotFound · NotFound · CacheMiss
│   ├── Unauthenticated · Forbidden
│   ├── IdempotencyMismatch        the key was used for another request
│   ├── ContextLengthExceeded
│   ├── UnsupportedByBackend       the language model's server cannot do what was asked
│   │   └── RefusedByBackend       in its own words
│   └── NotCalibratable            the labelled answers do not bear what was asked of them
├── Unavailable                    try again later (`retry_after_seconds`)
│   ├── Overloaded · Draining
│   ├── RateLimited                this key has used up its share
│   ├── IdempotencyInProgress      the first request with this key is still running
│   ├── StoreUnavailable           what must not be lost cannot be kept now
│   ├── BackendUnavailable         the language model's server is busy, or cannot be reached
│   └── DegradedRefused            `strict` was asked for and a signal is missing
├── BackendError                   the language model failed
├── EntailmentUnavailable          the NLI model failed
├── StoreFull                      no room to keep what must not be lost
├── ProfileUnreadable              a calibration profile cannot be used
├── DatasetUnreadable              a file of questions or of judged answers cannot be used
├── KeysUnreadable                 the API keys, as configured, mean nothing: the service does not start
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


class BodyTooSlow(InvalidRequest):
    code = "body-too-slow"


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


class NotFound(InvalidRequest):
    code = "not-found"


class CacheMiss(InvalidRequest):
    code = "cache-miss"


class Unauthenticated(InvalidRequest):
    code = "unauthenticated"


class Forbidden(InvalidRequest):
    code = "forbidden"


class IdempotencyMismatch(InvalidRequest):
    code = "idempotency-mismatch"


class ContextLengthExceeded(InvalidRequest):
    """Numbers that a remote server does not tell are None; `said` is what it says instead."""

    code = "context-length-exceeded"

    def __init__(self, *, n_tokens: int | None, max_tokens: int, limit: int | None, said: str = "") -> None:
        mend = "shorten the prompt or the context, or lower sampling.max_tokens"
        if n_tokens is not None and limit is not None:
            text = f"the prompt is {n_tokens} tokens and max_tokens asks for {max_tokens} more, but the model reads "
            super().__init__(f"{text}at most {limit}; {mend}")
        else:
            bound = "" if limit is None else f", which reads at most {limit} tokens"
            quoted = f" (its server says: {said})" if said else ""
            text = f"the prompt and max_tokens={max_tokens} together are too long for the model{bound}; {mend}{quoted}"
            super().__init__(text)


class UnsupportedByBackend(InvalidRequest):
    """`errors` names the fields that ask for it, where that is known."""

    code = "unsupported-by-backend"

    def __init__(self, message: str, *errors: FieldError) -> None:
        super().__init__(message)
        self.errors = errors


class RefusedByBackend(UnsupportedByBackend):
    """`status` (4xx) and `told` (the object under `error`, where there is one) are the server's own."""

    def __init__(self, message: str, *, status: int, told: dict[str, object]) -> None:
        super().__init__(message)
        self.status = status
        self.told = told


class NotCalibratable(InvalidRequest):
    code = "not-calibratable"


class Unavailable(DemurError):
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    code = "overloaded"


class Draining(Unavailable):
    code = "draining"


class RateLimited(Unavailable):
    code = "rate-limited"


class IdempotencyInProgress(Unavailable):
    code = "idempotency-in-progress"


class StoreUnavailable(Unavailable):
    code = "store-unavailable"


class BackendUnavailable(Unavailable):
    code = "backend-unavailable"


class DegradedRefused(Unavailable):
    code = "degraded-refused"


class BackendError(DemurError):
    code = "backend-error"


class EntailmentUnavailable(DemurError):
    code = "nli-unavailable"


class StoreFull(DemurError):
    code = "store-full"


class ProfileUnreadable(DemurError):
    code = "profile-unreadable"


class DatasetUnreadable(DemurError):
    code = "dataset-unreadable"


class KeysUnreadable(DemurError):
    code = "keys-unreadable"


class DeadlineExceeded(DemurError):
    code = "deadline-exceeded"
