"""The client without an event loop; `_async_client.py` is its twin."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from demur_client import _calls
from demur_client._calls import Call
from demur_client._errors import DemurError
from demur_client._events import AnswerEvent, EventReader
from demur_client._mapping import Progress, map_in_threads
from demur_client._models import AnswerResult, Clustering, Feedback, ScoreResult, Version
from demur_client._options import AnswerOptions, CalibrationOptions, ClusterOptions, MessageOption, ScoreOptions
from demur_client._retries import Attempts, Outcome
from demur_client._streams import AnswerStream
from demur_client._transport import RawResponse, configure, connection_error, received

T = TypeVar("T")


class Demur:
    """Asks a Demur service. Safe to share between threads; use as a context manager, or `close()` it."""

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        headers: Mapping[str, str] | None = None,
        http_client: httpx2.Client | None = None,
    ) -> None:
        self._config = configure(base_url, api_key, timeout, max_retries, headers)
        self._http = http_client or httpx2.Client()
        self._owns_http = http_client is None

    @property
    def feedback(self) -> FeedbackResource:
        return FeedbackResource(self)

    @property
    def answers(self) -> AnswersResource:
        return AnswersResource(self)

    @property
    def audits(self) -> AuditsResource:
        return AuditsResource(self)

    @property
    def calibrations(self) -> CalibrationsResource:
        return CalibrationsResource(self)

    @property
    def policies(self) -> PoliciesResource:
        return PoliciesResource(self)

    @property
    def with_raw_response(self) -> RawDemur:
        """The same calls, each giving a RawResponse: headers, status, and `parse()`."""
        return RawDemur(self)

    def answer(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> AnswerResult:
        """Ask a question; the result is true where the decision is `answer`. Raises: DemurError and its children."""
        return self._send(_calls.answer(prompt, messages, options)).parse()

    def answer_stream(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> AnswerStream:
        """Ask, and hear of samples and meanings as they land; the last event has the result.

        Nothing is sent before the first event is asked for. Only a request that fails before it is repeated.
        """
        return AnswerStream(self._events(_calls.answer_stream(prompt, messages, options)))

    def score(
        self,
        prompt: str | None = None,
        *,
        answer: str,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreResult:
        """Have an answer rated that was made elsewhere: by `samples` of yours, else by samples that are drawn."""
        return self._send(_calls.score(prompt, answer, messages, options)).parse()

    def cluster(self, texts: Sequence[str], **options: Unpack[ClusterOptions]) -> Clustering:
        """Group texts by meaning; no language model is called."""
        return self._send(_calls.cluster(texts, options)).parse()

    def map(
        self,
        prompts: Iterable[str],
        *,
        concurrency: int = 8,
        progress: Progress = False,
        **options: Unpack[AnswerOptions],
    ) -> Iterator[tuple[int, AnswerResult | DemurError]]:
        """Ask many questions, `concurrency` at once; yields (index, result or error) as each is done.

        Takes from `prompts` only what it is about to ask and keeps no result: memory stays flat however many there are.
        Leaving the loop early waits for the questions under way and asks no more.
        """

        def ask(prompt: str) -> AnswerResult:
            return self.answer(prompt, **options)

        return map_in_threads(ask, prompts, concurrency=concurrency, progress=progress)

    def version(self) -> Version:
        """What runs there."""
        return self._send(_calls.version()).parse()

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

    def close(self) -> None:
        """Close the connections, if this client opened them."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> RawResponse[T]:
        request, attempts = self._config.request(call), Attempts(self._config.max_retries)
        while True:
            outcome = self._try(request)
            pause = attempts.pause_after(outcome)
            if pause is None:
                return received(call, outcome)
            time.sleep(pause)

    def _try(self, request: httpx2.Request, *, stream: bool = False) -> Outcome:
        try:
            response = self._http.send(request, stream=stream)
            if stream and response.status_code >= 300:
                response.read()
            return response
        except httpx2.TransportError as error:
            return error

    def _open(self, call: Call[T]) -> httpx2.Response:
        request, attempts = self._config.request(call), Attempts(self._config.max_retries)
        while True:
            outcome = self._try(request, stream=True)
            pause = attempts.pause_after(outcome)
            if pause is None:
                return received(call, outcome).http_response
            time.sleep(pause)

    def _events(self, call: Call[AnswerResult]) -> Generator[AnswerEvent]:
        response = self._open(call)
        try:
            reader = EventReader(response)
            for chunk in response.iter_bytes():
                yield from reader.read(chunk)
                if reader.is_done:
                    return
            reader.end()
        except httpx2.TransportError as error:
            raise connection_error(error) from error
        finally:
            response.close()


class RawDemur:
    """The calls of Demur, with their HTTP replies."""

    def __init__(self, client: Demur) -> None:
        self._client = client

    def answer(
        self,
        prompt: str | None = None,
        *,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[AnswerOptions],
    ) -> RawResponse[AnswerResult]:
        return self._client._send(_calls.answer(prompt, messages, options))

    def score(
        self,
        prompt: str | None = None,
        *,
        answer: str,
        messages: Sequence[MessageOption] | None = None,
        **options: Unpack[ScoreOptions],
    ) -> RawResponse[ScoreResult]:
        return self._client._send(_calls.score(prompt, answer, messages, options))

    def cluster(self, texts: Sequence[str], **options: Unpack[ClusterOptions]) -> RawResponse[Clustering]:
        return self._client._send(_calls.cluster(texts, options))

    def version(self) -> RawResponse[Version]:
        return self._client._send(_calls.version())


class FeedbackResource:
    """Labels on answers: what calibration learns from."""

    def __init__(self, client: Demur) -> None:
        self._client = client

    def create(
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
        return self._client._send(_calls.feedback(answer_id, verdict, **said)).parse()

    def list(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Every label, page after page (scope `admin`)."""
        return _paged(self._client, "/v1/feedback", page_size)


class AnswersResource:
    """Stored answers."""

    def __init__(self, client: Demur) -> None:
        self._client = client

    def retrieve(self, answer_id: str) -> dict[str, Any]:
        """The record of an answer of your own."""
        return self._client._send(_calls.stored_answer(answer_id)).parse()

    def delete(self, answer_id: str) -> None:
        """Have the service forget an answer, and what was said about it."""
        self._client._send(_calls.forget_answer(answer_id)).parse()


class AuditsResource:
    """Answers drawn at random for labelling."""

    def __init__(self, client: Demur) -> None:
        self._client = client

    def list(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Every audit, page after page (scope `admin`)."""
        return _paged(self._client, "/v1/audits", page_size)


class CalibrationsResource:
    """Calibrations, fitted from labels (scope `admin`)."""

    def __init__(self, client: Demur) -> None:
        self._client = client

    def create(self, **options: Unpack[CalibrationOptions]) -> dict[str, Any]:
        """Fit one, from audits unless a dataset is given. Raises: NotCalibratableError, saying what is missing."""
        return self._client._send(_calls.fit_calibration(options)).parse()

    def activate(self, calibration_id: str) -> dict[str, Any]:
        """Put it into force; going back is activating the old one."""
        return self._client._send(_calls.activate_calibration(calibration_id)).parse()

    def list(self, *, page_size: int = 100) -> Iterator[dict[str, Any]]:
        """Every version, page after page, the newest first."""
        return _paged(self._client, "/v1/calibrations", page_size)


class PoliciesResource:
    """By which thresholds the service decides, and what is promised with them."""

    def __init__(self, client: Demur) -> None:
        self._client = client

    def list(self) -> Sequence[dict[str, Any]]:
        """One for each way of asking that is calibrated, after the one for all others."""
        return self._client._send(_calls.policies()).parse()


def _paged(client: Demur, path: str, page_size: int) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = client._send(_calls.page(path, after, page_size)).parse()
        yield from page.data
        after = page.next
        if after is None:
            return
