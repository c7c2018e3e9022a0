"""The client for an event loop; `_client.py` is its twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from demur_client import _calls
from demur_client._calls import Call
from demur_client._errors import DemurError
from demur_client._events import AnswerEvent, EventReader
from demur_client._mapping import Progress, map_in_tasks
from demur_client._models import AnswerResult, Clustering, Feedback, ScoreResult, Version
from demur_client._options import AnswerOptions, CalibrationOptions, ClusterOptions, MessageOption, ScoreOptions
from demur_client._retries import Attempts, Outcome
from demur_client._streams import AsyncAnswerStream
from demur_client._transport import RawResponse, configure, connection_error, received

T = TypeVar("T")


class AsyncDemur:
    """Asks a Demur service. Belongs to one event loop; use as an async context manager, or `await close()`."""

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        headers: Mapping[str, str] | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._config = configure(base_url, api_key, timeout, max_retries, headers)
        self._http = http_client or httpx2.AsyncClient()
        self._owns_http = http_client is None

    @property
    def feedback(self) -> AsyncFeedbackResource:
        return AsyncFeedbackResource(self)

    @property
    def answers(self) -> AsyncAnswersResource:
        return AsyncAnswersResource(self)

    @property
    def audits(self) -> AsyncAuditsResource:
        return AsyncAuditsResource(self)

    @property
    def calibrations(self) -> AsyncCalibrationsResource:
        return AsyncCalibrationsResource(self)

    @property
    def policies(self) -> AsyncPoliciesResource:
        return AsyncPoliciesResource(self)

    @property
    def with_raw_response(self) -> AsyncRawDemur:
        """The same calls, each giving a RawResponse: headers, status, and `parse()`."""
        return AsyncRawDemur(self)

    async def answer(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> AnswerResult:
        """Ask a question; the result is true where the decision is `answer`. Raises: DemurError and its children."""
        return (await self._send(_calls.answer(prompt, messages, options))).parse()

    def answer_stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> AsyncAnswerStream:
        """Ask, and hear of samples and meanings as they land; the last event has the result.

        Nothing is sent before the first event is asked for. Only a request that fails before it is repeated.
        """
        return AsyncAnswerStream(self._events(_calls.answer_stream(prompt, messages, options)))

    async def score(
        self,
        prompt: str | None = None,
        *,
        answer: str,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreResult:
        """Have an answer rated that was made elsewhere: by `samples` of yours, else by samples that are drawn."""
        return (await self._send(_calls.score(prompt, answer, messages, options))).parse()

    async def cluster(self, texts: Sequence[str], **options: Unpack[ClusterOptions]) -> Clustering:
        """Group texts by meaning; no language model is called."""
        return (await self._send(_calls.cluster(texts, options))).parse()

    def map(
        self,
        prompts: Iterable[str],
        *,
        concurrency: int = 8,
        progress: Progress = False,
        **options: Unpack[AnswerOptions],
    ) -> AsyncIterator[tuple[int, AnswerResult | DemurError]]:
        """Ask many questions, `concurrency` at once; yields (index, result or error) as each is done.

        Takes from `prompts` only what it is about to ask and keeps no result: memory stays flat however many there are.
        Leaving the loop early (and closing the iterator) cancels the questions under way.
        """

        async def ask(prompt: str) -> AnswerResult:
            return await self.answer(prompt, **options)

        return map_in_tasks(ask, prompts, concurrency=concurrency, progress=progress)

    async def version(self) -> Version:
        """What runs there."""
        return (await self._send(_calls.version())).parse()

    def with_options(
        self,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """A client with some options changed, on the same connections."""
        twin = object.__new__(type(self))
        twin._config = self._config.changed(api_key, timeout, max_retries, headers)
        twin._http, twin._owns_http = self._http, False
        return twin

    async def close(self) -> None:
        """Close the connections, if this client opened them."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> RawResponse[T]:
        request, attempts = self._config.request(call), Attempts(self._config.max_retries)
        while True:
            outcome = await self._try(request)
            pause = attempts.pause_after(outcome)
            if pause is None:
                return received(call, outcome)
            await asyncio.sleep(pause)

    async def _try(self, request: httpx2.Request, *, stream: bool = False) -> Outcome:
        try:
            response = await self._http.send(request, stream=stream)
            if stream and response.status_code >= 300:
                await response.aread()
            return response
        except httpx2.TransportError as error:
            return error

    async def _open(self, call: Call[T]) -> httpx2.Response:
        request, attempts = self._config.request(call), Attempts(self._config.max_retries)
        while True:
            outcome = await self._try(request, stream=True)
            pause = attempts.pause_after(outcome)
            if pause is None:
                return received(call, outcome).http_response
            await asyncio.sleep(pause)

    async def _events(self, call: Call[AnswerResult]) -> AsyncGenerator[AnswerEvent]:
        response = await self._open(call)
        try:
            reader = EventReader(response)
            async for chunk in response.aiter_bytes():
                for event in reader.read(chunk):
                    yield event
                if reader.is_done:
                    return
            reader.end()
        except httpx2.TransportError as error:
            raise connection_error(error) from error
        finally:
            await response.aclose()


class AsyncRawDemur:
    """The calls of AsyncDemur, with their HTTP replies."""

    def __init__(self, client: AsyncDemur) -> None:
        self._client = client

    async def answer(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> RawResponse[AnswerResult]:
        return await self._client._send(_calls.answer(prompt, messages, options))

    async def score(
        self,
        prompt: str | None = None,
        *,
        answer: str,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[ScoreOptions],
    ) -> RawResponse[ScoreResult]:
        return await self._client._send(_calls.score(prompt, answer, messages, options))

    async def cluster(self, texts: Sequence[str], **options: Unpack[ClusterOptions]) -> RawResponse[Clustering]:
        return await self._client._send(_calls.cluster(texts, options))

    async def version(self) -> RawResponse[Version]:
        return await self._client._send(_calls.version())


class AsyncFeedbackResource:
    """Labels on answers: what calibration learns from."""

    def __init__(self, client: AsyncDemur) -> None:
        self._client = client

    async def create(
        self,
        answer_id: str,
        verdict: str | float,
        *,
        source: str = "human",
        reference: str | None = None,
        comment: str | None = None,
    ) -> Feedback:
        """Say whether an answer was `correct`, `incorrect` or `partial`, or give a score in [0, 1].

        Once this returns, the label is on disk. The same source saying it again replaces what it said before.
        """
        said = {"source": source, "reference": reference, "comment": comment}
        return (await self._client._send(_calls.feedback(answer_id, verdict, **said))).parse()

    def list(self, *, page_size: int = 100) -> AsyncIterator[dict[str, Any]]:
        """Every label, page after page (scope `admin`)."""
        return _paged(self._client, "/v1/feedback", page_size)


class AsyncAnswersResource:
    """Stored answers."""

    def __init__(self, client: AsyncDemur) -> None:
        self._client = client

    async def retrieve(self, answer_id: str) -> dict[str, Any]:
        """The record of an answer of your own."""
        return (await self._client._send(_calls.stored_answer(answer_id))).parse()

    async def delete(self, answer_id: str) -> None:
        """Have the service forget an answer, and what was said about it."""
        (await self._client._send(_calls.forget_answer(answer_id))).parse()


class AsyncAuditsResource:
    """Answers drawn at random for labelling."""

    def __init__(self, client: AsyncDemur) -> None:
        self._client = client

    def list(self, *, page_size: int = 100) -> AsyncIterator[dict[str, Any]]:
        """Every audit, page after page (scope `admin`)."""
        return _paged(self._client, "/v1/audits", page_size)


class AsyncCalibrationsResource:
    """Calibrations, fitted from labels (scope `admin`)."""

    def __init__(self, client: AsyncDemur) -> None:
        self._client = client

    async def create(self, **options: Unpack[CalibrationOptions]) -> dict[str, Any]:
        """Fit one, from audits unless a dataset is given. Raises: NotCalibratableError, saying what is missing."""
        return (await self._client._send(_calls.fit_calibration(options))).parse()

    async def activate(self, calibration_id: str) -> dict[str, Any]:
        """Put it into force; going back is activating the old one."""
        return (await self._client._send(_calls.activate_calibration(calibration_id))).parse()

    def list(self, *, page_size: int = 100) -> AsyncIterator[dict[str, Any]]:
        """Every version, page after page, the newest first."""
        return _paged(self._client, "/v1/calibrations", page_size)


class AsyncPoliciesResource:
    """By which thresholds the service decides, and what is promised with them."""

    def __init__(self, client: AsyncDemur) -> None:
        self._client = client

    async def list(self) -> Sequence[dict[str, Any]]:
        """One for each way of asking that is calibrated, after the one for all others."""
        return (await self._client._send(_calls.policies())).parse()


async def _paged(client: AsyncDemur, path: str, page_size: int) -> AsyncIterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = (await client._send(_calls.page(path, after, page_size))).parse()
        for row in page.data:
            yield row
        after = page.next
        if after is None:
            return
