"""What the two clients have in common: configuration, headers, and reading a reply."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import httpx2
from pydantic import ValidationError

from demur_client._calls import Call
from demur_client._errors import APIConnectionError, APIResponseError, APITimeoutError, DemurError, status_error
from demur_client._retries import Outcome
from demur_client._version import __version__

T = TypeVar("T")
DEFAULT_BASE_URL = "http://127.0.0.1:8000"
_USER_AGENT = f"demur-client/{__version__} Python/{platform.python_version()}"
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Config:
    """Where and how to ask. `timeout` is seconds for one try, `max_retries` how often a failed one is repeated."""

    base_url: str
    api_key: str | None = field(repr=False)
    timeout: float
    max_retries: int
    headers: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.timeout <= 0:
            raise ValueError(f"timeout must be positive seconds, got {self.timeout}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must not be negative, got {self.max_retries}")

    def changed(
        self,
        api_key: str | None,
        timeout: float | None,
        max_retries: int | None,
        headers: Mapping[str, str] | None,
    ) -> Config:
        """This configuration with what is not None in its place; headers are added to."""
        return replace(
            self,
            api_key=self.api_key if api_key is None else api_key,
            timeout=self.timeout if timeout is None else timeout,
            max_retries=self.max_retries if max_retries is None else max_retries,
            headers={**self.headers, **(headers or {})},
        )

    @property
    def httpx_timeout(self) -> httpx2.Timeout:
        return httpx2.Timeout(self.timeout, connect=min(_CONNECT_SECONDS, self.timeout))

    def request(self, call: Call[T]) -> httpx2.Request:
        """The HTTP request of a call; the same for each of its tries."""
        headers = {"Accept": call.accept, "User-Agent": _USER_AGENT, **self.headers}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if call.idempotency_key:
            headers.setdefault("Idempotency-Key", call.idempotency_key)
        return httpx2.Request(
            call.method,
            self.base_url + call.path,
            params=call.query or None,
            json=call.body,
            headers=headers,
            extensions={"timeout": self.httpx_timeout.as_dict()},
        )


def configure(
    base_url: str | None, api_key: str | None, timeout: float, max_retries: int, headers: Mapping[str, str] | None
) -> Config:
    """What is left out is read from DEMUR_BASE_URL and DEMUR_API_KEY."""
    url = base_url or os.environ.get("DEMUR_BASE_URL") or DEFAULT_BASE_URL
    key = api_key or os.environ.get("DEMUR_API_KEY")
    return Config(url.rstrip("/"), key, timeout, max_retries, dict(headers or {}))


@dataclass(frozen=True, slots=True)
class RawResponse(Generic[T]):
    """A reply with its headers; `parse()` gives what the plain method would have returned."""

    http_response: httpx2.Response
    call: Call[T] = field(repr=False)

    @property
    def status_code(self) -> int:
        return self.http_response.status_code

    @property
    def headers(self) -> httpx2.Headers:
        return self.http_response.headers

    @property
    def request_id(self) -> str | None:
        return self.http_response.headers.get("x-request-id")

    def parse(self) -> T:
        """Raises: APIResponseError where the reply is not the service's."""
        response = self.http_response
        try:
            return self.call.read(response.json() if response.content else None)
        except (ValueError, TypeError, ValidationError) as error:
            start = response.text[:200]
            raise APIResponseError(f"{response.url} did not answer as Demur does: {start!r}") from error


def received(call: Call[T], outcome: Outcome) -> RawResponse[T]:
    """The reply, if it is a good one. Raises: APIStatusError, APIConnectionError, APITimeoutError."""
    if isinstance(outcome, httpx2.TransportError):
        raise connection_error(outcome) from outcome
    if outcome.status_code >= 400:
        raise status_error(outcome)
    if outcome.status_code >= 300:
        raise APIResponseError(f"{outcome.url} redirects to {outcome.headers.get('location')!r}; set base_url to that")
    return RawResponse(outcome, call)


def connection_error(error: httpx2.TransportError) -> DemurError:
    """What no reply, or one that broke off, is to the caller."""
    place = error.request.url.copy_with(query=None)
    if isinstance(error, httpx2.TimeoutException):
        return APITimeoutError(f"no reply from {place} in time ({type(error).__name__})")
    return APIConnectionError(f"cannot reach {place}: {error or type(error).__name__}")
