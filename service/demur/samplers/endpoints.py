"""The servers behind the base URLs: replicas of one model, asked through the `openai` client."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx2
from openai import APIConnectionError, APIError, APIStatusError, AsyncOpenAI, AsyncStream, DefaultAsyncHttpxClient

from demur.errors import BackendError, BackendUnavailable, DemurError
from demur.observability.metrics import Metrics
from demur.observability.tracing import tell_server
from demur.samplers.refusals import Refusal

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
REST_SECONDS = 10.0
MAX_FAILURES = 3
# A load balancer's words for a server that starts, drains or is full; 429 is the server's own.
_BUSY = frozenset({429, 502, 503, 504})
_PASSING = frozenset({408, 409, 425})


@dataclass(eq=False)
class Endpoint:
    """One server. It rests after a failed connection, or after some failures in a row: others are preferred then."""

    name: str
    client: AsyncOpenAI
    n_inflight: int = 0
    n_failures: int = 0
    rests_until: float = field(default=float("-inf"))

    @property
    def is_resting(self) -> bool:
        return time.monotonic() < self.rests_until

    def succeed(self) -> None:
        self.n_failures, self.rests_until = 0, float("-inf")

    def fail(self, *, is_unreachable: bool = False) -> None:
        self.n_failures += 1
        if is_unreachable or self.n_failures >= MAX_FAILURES:
            self.rests_until = time.monotonic() + REST_SECONDS


def preferred(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The one with the least calls in flight among those that do not rest; a resting one where all do."""
    return min(endpoints, key=lambda endpoint: (endpoint.is_resting, endpoint.n_inflight))


class Endpoints:
    """`timeout_seconds` bounds a call with all its retries, waits and changes of server."""

    def __init__(
        self,
        urls: Sequence[str],
        metrics: Metrics,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 60.0,
        n_retries: int = 2,
        concurrency: int = 32,
    ) -> None:
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds
        self._n_retries = n_retries
        self._places = asyncio.Semaphore(concurrency)
        self._endpoints = [Endpoint(urlsplit(url).netloc, self._client(url, api_key)) for url in urls]

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """The body of the first success. A server that fails is left for another one at once; the last one left is
        asked again as the client does: up to `n_retries` times, after `Retry-After` or a growing pause.

        Raises: Refusal (4xx), BackendUnavailable (busy or unreachable), BackendError.
        """
        async with self._places:
            deadline, untried = time.monotonic() + self._timeout_seconds, list(self._endpoints)
            while True:
                endpoint = preferred(untried)
                untried.remove(endpoint)
                try:
                    return await self._post(endpoint, path, body, deadline, 0 if untried else self._n_retries)
                except APIError as error:
                    translated = _translate(error, endpoint.name)
                    if not untried or isinstance(translated, Refusal):
                        raise translated from error
                    logger.warning("%s failed, trying another server: %s", endpoint.name, translated)

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The chunks of the first server that begins to answer. One that breaks off is not asked again.

        Raises as `post`.
        """
        async with self._places:
            deadline, untried = time.monotonic() + self._timeout_seconds, list(self._endpoints)
            while True:
                endpoint = preferred(untried)
                untried.remove(endpoint)
                n_chunks = 0
                try:
                    chunks = self._chunks(endpoint, path, body, deadline, 0 if untried else self._n_retries)
                    async with aclosing(chunks):
                        async for chunk in chunks:
                            n_chunks += 1
                            yield chunk
                    return
                except APIError as error:
                    translated = _translate(error, endpoint.name)
                    if n_chunks or not untried or isinstance(translated, Refusal):
                        raise translated from error
                    logger.warning("%s failed, trying another server: %s", endpoint.name, translated)

    async def aclose(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.client.close()

    def _client(self, url: str, api_key: str | None) -> AsyncOpenAI:
        name = urlsplit(url).netloc
        http = DefaultAsyncHttpxClient(
            timeout=httpx2.Timeout(self._timeout_seconds, connect=min(CONNECT_SECONDS, self._timeout_seconds)),
            event_hooks={"request": [self._count_retry(name), tell_server], "response": [self._shorten_waits]},
        )
        # The placeholder keeps the client from sending OPENAI_API_KEY of the environment to whoever listens there.
        client = AsyncOpenAI(base_url=url, api_key=api_key or "none", max_retries=0, http_client=http)
        client.organization = client.project = None
        return client

    def _count_retry(self, name: str) -> Any:
        async def count(request: httpx2.Request) -> None:
            if request.headers.get("x-stainless-retry-count", "0") != "0":
                self._metrics.backend_retries.labels(name).inc()

        return count

    async def _shorten_waits(self, response: httpx2.Response) -> None:
        """A server that asks for more patience than a call has is not waited for."""
        wait = retry_after_seconds(response.headers)
        if response.status_code in _BUSY and wait is not None and wait >= self._timeout_seconds:
            response.headers["x-should-retry"] = "false"

    async def _post(
        self, endpoint: Endpoint, path: str, body: dict[str, Any], deadline: float, n_retries: int
    ) -> bytes:
        with self._watched(endpoint):
            with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                response = await endpoint.client.post(
                    path, cast_to=httpx2.Response, body=body, options={"max_retries": n_retries}
                )
            return response.content

    async def _chunks(
        self, endpoint: Endpoint, path: str, body: dict[str, Any], deadline: float, n_retries: int
    ) -> AsyncGenerator[dict[str, Any], None]:
        with self._watched(endpoint):
            with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                stream = await endpoint.client.post(
                    path,
                    cast_to=object,
                    body=body | {"stream": True},
                    options={"max_retries": n_retries},
                    stream=True,
                    stream_cls=AsyncStream[object],
                )
            async with stream:
                while True:
                    with anyio.fail_after(max(0.0, deadline - time.monotonic())):
                        chunk = await _next(stream)
                    if chunk is None:
                        return
                    yield chunk

    @contextmanager
    def _watched(self, endpoint: Endpoint) -> Iterator[None]:
        """Counts and times a call, and notes what it says of the server's health."""
        metrics, started, outcome = self._metrics, time.perf_counter(), "cancelled"
        endpoint.n_inflight += 1
        metrics.backend_inflight.labels(endpoint.name).inc()
        try:
            yield
            outcome = "ok"
            endpoint.succeed()
        except TimeoutError as error:
            outcome = "timeout"
            endpoint.fail()
            raise BackendError(
                f"the language model's server did not answer within {self._timeout_seconds:g} s "
                "(DEMUR_SAMPLER__TIMEOUT_S)"
            ) from error
        except APIError as error:
            outcome = _judge(endpoint, error)
            raise
        except BackendError:
            outcome = "broken"
            endpoint.fail()
            raise
        finally:
            endpoint.n_inflight -= 1
            metrics.backend_inflight.labels(endpoint.name).dec()
            metrics.backend_requests.labels(endpoint.name, outcome).inc()
            metrics.backend_seconds.labels(endpoint.name).observe(time.perf_counter() - started)
            metrics.backend_circuit_open.labels(endpoint.name).set(endpoint.is_resting)


async def _next(stream: AsyncStream[object]) -> dict[str, Any] | None:
    """None at the end. Raises: BackendError for what is no JSON object."""
    try:
        chunk = await anext(stream)
    except StopAsyncIteration:
        return None
    except ValueError as error:
        raise BackendError("the language model's server sent a stream that cannot be read") from error
    if not isinstance(chunk, dict):
        raise BackendError(f"the language model's server sent a {type(chunk).__name__} where a chunk was due")
    return chunk


def _judge(endpoint: Endpoint, error: APIError) -> str:
    """What the failure says of the server's health, and its label in metrics."""
    if isinstance(error, APIConnectionError):
        endpoint.fail(is_unreachable=_is_unreachable(error))
        return "unreachable" if _is_unreachable(error) else "broken"
    status = error.status_code if isinstance(error, APIStatusError) else 500
    if status == 429:
        return "busy"
    if status >= 500:
        endpoint.fail()
        return "failed"
    endpoint.succeed()
    return "refused"


def _is_unreachable(error: APIError) -> bool:
    return isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout)


def _translate(error: APIError, name: str) -> DemurError | Refusal:
    if isinstance(error, APIStatusError):
        return _translate_status(error, name)
    if _is_unreachable(error):
        text = f"the language model's server at {name} cannot be reached (DEMUR_SAMPLER__BASE_URLS)"
        return BackendUnavailable(text, retry_after_seconds=REST_SECONDS)
    if isinstance(error.body, dict):  # told in the midst of a stream
        return BackendError(f"the language model's server at {name} failed: {str(error.message)[:300]}")
    cause = type(error.__cause__ or error).__name__
    return BackendError(f"the connection to the language model's server at {name} broke ({cause})")


def _translate_status(error: APIStatusError, name: str) -> DemurError | Refusal:
    status, wait = error.status_code, retry_after_seconds(error.response.headers)
    if status in _BUSY:
        text = f"the language model's server at {name} is busy ({status})"
        return BackendUnavailable(text, retry_after_seconds=1.0 if wait is None else wait)
    if status >= 500 or status in _PASSING:
        return BackendError(f"the language model's server at {name} failed ({status})")
    return Refusal(status, error.response.content.decode(errors="replace"))


def retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """`Retry-After` in seconds, from a number or a date; None where there is none that can be read."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(until.tzinfo)).total_seconds())
