"""Everything that can go wrong, as one tree: one class for each problem that the service can report.

DemurError
├── APIConnectionError          no reply: refused, cut off, name not found
│   └── APITimeoutError
├── APIResponseError            a reply that is not the service's
└── APIStatusError              the service said no: `code`, `detail`, `request_id`
    ├── BadRequestError         400  MalformedJSONError
    ├── UnauthenticatedError    401
    ├── ForbiddenError          403
    ├── NotFoundError           404  ModelNotFoundError · CacheMissError
    ├── MethodNotAllowedError   405
    ├── RequestTimeoutError     408
    ├── IdempotencyInProgressError  409
    ├── BodyTooLargeError       413
    ├── UnsupportedMediaTypeError   415
    ├── UnprocessableError      422  ValidationFailedError · ContextLengthExceededError · UnsupportedByBackendError
    │                                IdempotencyMismatchError · NotCalibratableError · DatasetUnreadableError
    ├── RateLimitedError        429
    ├── HeadTooLargeError       431
    ├── InternalError           500  ProfileUnreadableError
    ├── BackendError            502
    ├── UnavailableError        503  OverloadedError · DrainingError · BackendUnavailableError · StoreUnavailableError
    │                                DegradedRefusedError · NLIUnavailableError
    ├── DeadlineExceededError   504
    └── StoreFullError          507
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx2


class DemurError(Exception):
    """Base of all errors of this package."""


class APIConnectionError(DemurError):
    """The service gave no reply."""


class APITimeoutError(APIConnectionError):
    """The service gave no reply in time."""


class APIResponseError(DemurError):
    """The reply is not what Demur sends: a proxy's page, or another service at this address."""


class APIStatusError(DemurError):
    """The service refused, or failed. `code` is the slug of its problem, None where the reply was no problem."""

    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, response: httpx2.Response, problem: Mapping[str, Any]) -> None:
        self.response = response
        self.status_code: int = _status(problem, response)
        self.code: str | None = str(problem.get("type", "")).rpartition("/")[2] or None
        self.detail: str = str(problem.get("detail") or response.reason_phrase)
        self.errors: list[dict[str, str]] = list(problem.get("errors") or ())
        self.request_id: str | None = response.headers.get("x-request-id")
        super().__init__(self._text())

    def _text(self) -> str:
        fields = "; ".join(f"{e.get('pointer') or 'body'}: {e.get('detail')}" for e in self.errors)
        place = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status_code} {self.code or 'error'}: {fields or self.detail}{place}"


class BadRequestError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("invalid-request",)


class MalformedJSONError(BadRequestError):
    codes: ClassVar[tuple[str, ...]] = ("malformed-json",)


class UnauthenticatedError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("unauthenticated",)


class ForbiddenError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("forbidden",)


class NotFoundError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("not-found",)


class ModelNotFoundError(NotFoundError):
    codes: ClassVar[tuple[str, ...]] = ("model-not-found",)


class CacheMissError(NotFoundError):
    codes: ClassVar[tuple[str, ...]] = ("cache-miss",)


class MethodNotAllowedError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("method-not-allowed",)


class RequestTimeoutError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("body-too-slow", "head-too-slow")


class IdempotencyInProgressError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("idempotency-in-progress",)


class BodyTooLargeError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("body-too-large",)


class UnsupportedMediaTypeError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("unsupported-media-type",)


class UnprocessableError(APIStatusError):
    """What was asked cannot be done; sending it again changes nothing."""


class ValidationFailedError(UnprocessableError):
    """`errors` names each field and what it needs."""

    codes: ClassVar[tuple[str, ...]] = ("validation-failed",)


class ContextLengthExceededError(UnprocessableError):
    codes: ClassVar[tuple[str, ...]] = ("context-length-exceeded",)


class UnsupportedByBackendError(UnprocessableError):
    codes: ClassVar[tuple[str, ...]] = ("unsupported-by-backend",)


class IdempotencyMismatchError(UnprocessableError):
    codes: ClassVar[tuple[str, ...]] = ("idempotency-mismatch",)


class NotCalibratableError(UnprocessableError):
    codes: ClassVar[tuple[str, ...]] = ("not-calibratable",)


class DatasetUnreadableError(UnprocessableError):
    codes: ClassVar[tuple[str, ...]] = ("dataset-unreadable",)


class HeadTooLargeError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("head-too-large",)


class RateLimitedError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("rate-limited", "quota-exceeded")


class InternalError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("internal",)


class ProfileUnreadableError(InternalError):
    codes: ClassVar[tuple[str, ...]] = ("profile-unreadable",)


class BackendError(APIStatusError):
    """The language model failed."""

    codes: ClassVar[tuple[str, ...]] = ("backend-error",)


class UnavailableError(APIStatusError):
    """Not now; the client has already tried again `max_retries` times."""

    codes: ClassVar[tuple[str, ...]] = ("unavailable", "not-ready")


class OverloadedError(UnavailableError):
    codes: ClassVar[tuple[str, ...]] = ("overloaded",)


class DrainingError(UnavailableError):
    codes: ClassVar[tuple[str, ...]] = ("draining",)


class BackendUnavailableError(UnavailableError):
    codes: ClassVar[tuple[str, ...]] = ("backend-unavailable",)


class StoreUnavailableError(UnavailableError):
    codes: ClassVar[tuple[str, ...]] = ("store-unavailable",)


class DegradedRefusedError(UnavailableError):
    """`strict` was set, and a signal is missing just now."""

    codes: ClassVar[tuple[str, ...]] = ("degraded-refused",)


class NLIUnavailableError(UnavailableError):
    codes: ClassVar[tuple[str, ...]] = ("nli-unavailable",)


class DeadlineExceededError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("deadline-exceeded",)


class StoreFullError(APIStatusError):
    codes: ClassVar[tuple[str, ...]] = ("store-full",)


def _descendants(error: type[APIStatusError]) -> list[type[APIStatusError]]:
    return [error, *(each for child in error.__subclasses__() for each in _descendants(child))]


_BY_CODE = {code: error for error in _descendants(APIStatusError) for code in error.codes}
_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    408: RequestTimeoutError,
    409: IdempotencyInProgressError,
    413: BodyTooLargeError,
    415: UnsupportedMediaTypeError,
    422: UnprocessableError,
    429: RateLimitedError,
    431: HeadTooLargeError,
    500: InternalError,
    502: BackendError,
    503: UnavailableError,
    504: DeadlineExceededError,
    507: StoreFullError,
}


def status_error(response: httpx2.Response) -> APIStatusError:
    """The error that a reply of status >= 400 stands for: by its problem type, else by its status."""
    return problem_error(response, {**_problem(response), "status": response.status_code})


def problem_error(response: httpx2.Response, problem: Mapping[str, Any]) -> APIStatusError:
    """The error that a problem stands for, which may have come at the end of a stream that began well."""
    code = str(problem.get("type", "")).rpartition("/")[2]
    error = _BY_CODE.get(code) or _BY_STATUS.get(_status(problem, response), APIStatusError)
    return error(response, problem)


def _status(problem: Mapping[str, Any], response: httpx2.Response) -> int:
    status = problem.get("status")
    return status if isinstance(status, int) else response.status_code


def _problem(response: httpx2.Response) -> Mapping[str, Any]:
    """A gateway's own page is no problem document: its beginning is the detail then."""
    try:
        body = response.json()
    except ValueError:
        return {"detail": response.text[:200]}
    return body if isinstance(body, dict) else {"detail": str(body)[:200]}
