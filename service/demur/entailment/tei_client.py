"""text-embeddings-inference (TEI) over HTTP: `/info`, `/predict`, `/tokenize`, and what its refusals mean.

Retries are written out here rather than taken from a library, because one loop has to honour `Retry-After`, a deadline
for all attempts together, and the halving of batches; and stamina counts into prometheus-client's global registry,
while every metric of this service belongs to one application.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypeVar

import anyio
import httpx2
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from demur.errors import EntailmentUnavailable
from demur.observability.tracing import tell_server

# A busy server frees places as fast as it finishes batches, within tenths of a second: waits of 0.1, 0.2, 0.4, ... s.
_FIRST_WAIT_SECONDS = 0.1
_BUSY_RETRIES = 5

# Enough for a kept connection that the server closed meanwhile; one that is down would only hold up every answer.
_CONNECTION_RETRIES = 1

Row = TypeVar("Row")


class ServerInfo(BaseModel):
    """What `/info` tells. A server takes one of `max_concurrent_requests` places for every pair of a batch."""

    model_id: str
    served_model_name: str | None = None
    max_input_length: Annotated[int, Field(ge=1)]
    max_client_batch_size: Annotated[int, Field(ge=1)] = 32
    max_concurrent_requests: Annotated[int, Field(ge=1)] = 512

    @property
    def name(self) -> str:
        """The repository's name, or the last part of a folder on the server."""
        name = self.served_model_name or self.model_id
        return name if name.count("/") == 1 and name[0] not in "./" else name.rstrip("/").rpartition("/")[2]


class Score(BaseModel):
    label: str
    score: FiniteFloat


class Token(BaseModel):
    """`start` and `stop` are bytes of the text's UTF-8; None for a special token."""

    start: int | None = None
    stop: int | None = None


_SCORES = TypeAdapter(list[list[Score]])
_TOKENS = TypeAdapter(list[list[Token]])
_INFO = TypeAdapter(ServerInfo)


class BatchTooLarge(EntailmentUnavailable):
    """The server wants smaller batches."""


class TryAgain(EntailmentUnavailable):
    """Worth up to `max_retries` more attempts, after `retry_after_seconds` where the server says so."""

    def __init__(self, message: str, *, max_retries: int, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.max_retries = max_retries
        self.retry_after_seconds = retry_after_seconds


class TEIClient:
    """All methods raise EntailmentUnavailable. `timeout_seconds` bounds one batch with all its attempts."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_seconds = timeout_seconds
        # The deadline below covers what httpx2's own timeouts would, and the waits between attempts as well.
        self._http = httpx2.AsyncClient(
            base_url=self._url,
            headers=self._headers,
            timeout=None,
            limits=httpx2.Limits(max_connections=None),
            event_hooks={"request": [tell_server]},
        )

    def introduce(self) -> tuple[ServerInfo, list[str]]:
        """What the server is, and the labels it gives, seen on a first pair; blocks."""
        try:
            with httpx2.Client(base_url=self._url, headers=self._headers, timeout=self._timeout_seconds) as http:
                info = _parsed(_INFO, http.get("/info"))
                rows = _parsed(_SCORES, http.post("/predict", json=_question([("a", "b")])))
        except httpx2.RequestError as error:
            raise EntailmentUnavailable(f"cannot reach the NLI server at {self._url}: {error!r}") from error
        except EntailmentUnavailable as error:
            raise EntailmentUnavailable(f"{self._url} is of no use as an NLI server: {error}") from error
        return info, [score.label for row in rows for score in row]

    async def predict(self, pairs: Sequence[tuple[str, str]]) -> list[list[Score]]:
        """Scores by label, in any order, per pair of texts. Smaller batches are tried where one is too large."""
        async with self._deadline():
            return await self._halving("/predict", pairs, _SCORES)

    async def tokenize(self, texts: Sequence[str]) -> list[list[Token]]:
        """Tokens per text, special ones left out."""
        async with self._deadline():
            return await self._halving("/tokenize", texts, _TOKENS)

    async def aclose(self) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            with anyio.fail_after(self._timeout_seconds):
                yield
        except TimeoutError as error:
            raise EntailmentUnavailable(f"the NLI server did not answer in {self._timeout_seconds:g} s") from error

    async def _halving(self, path: str, inputs: Sequence[Any], rows: TypeAdapter[list[Row]]) -> list[Row]:
        try:
            answered = await self._patiently(path, inputs, rows)
        except BatchTooLarge:
            if len(inputs) == 1:
                raise
            half = len(inputs) // 2
            first = await self._halving(path, inputs[:half], rows)
            return [*first, *await self._halving(path, inputs[half:], rows)]
        if len(answered) != len(inputs):
            raise EntailmentUnavailable(f"the NLI server answered {len(answered)} of {len(inputs)} inputs")
        return answered

    async def _patiently(self, path: str, inputs: Sequence[Any], rows: TypeAdapter[list[Row]]) -> list[Row]:
        n_failed = 0
        while True:
            try:
                return await self._post(path, inputs, rows)
            except TryAgain as again:
                n_failed += 1
                if n_failed > again.max_retries:
                    raise
                await anyio.sleep(self._wait_seconds(again, n_failed))

    def _wait_seconds(self, again: TryAgain, n_failed: int) -> float:
        """What the server asks for, else twice the last wait, less up to a quarter so that waiters part."""
        if again.retry_after_seconds is None:
            return _FIRST_WAIT_SECONDS * 2.0 ** (n_failed - 1) * random.uniform(0.75, 1.0)
        if again.retry_after_seconds > self._timeout_seconds:
            raise again
        return again.retry_after_seconds

    async def _post(self, path: str, inputs: Sequence[Any], rows: TypeAdapter[list[Row]]) -> list[Row]:
        body = _question(inputs) if path == "/predict" else {"inputs": inputs, "add_special_tokens": False}
        try:
            reply = await self._http.post(path, json=body)
        except httpx2.RequestError as error:
            text = f"the connection to the NLI server failed: {error!r}"
            raise TryAgain(text, max_retries=_CONNECTION_RETRIES) from error
        return _parsed(rows, reply)


def _question(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    # `truncate` although texts are cut before: a token more than counted must cost that token, not the whole batch.
    return {"inputs": pairs, "truncate": True, "raw_scores": False}


def _parsed(adapter: TypeAdapter[Row], reply: httpx2.Response) -> Row:
    if reply.status_code != 200:
        raise _refusal(reply)
    try:
        return adapter.validate_json(reply.content)
    except ValidationError as error:
        kind = reply.headers.get("content-type", "no content type")
        raise EntailmentUnavailable(f"the NLI server gave {kind} that is not a TEI answer") from error


def _refusal(reply: httpx2.Response) -> EntailmentUnavailable:
    said = _message(reply)
    text = f"the NLI server answered {reply.status_code}" + (f": {said}" if said else "")
    # TEI refuses a batch of too many inputs with 413 up to 1.8, with 422 since 1.9; too large a body always with 413.
    if reply.status_code == 413 or (reply.status_code == 422 and "batch size" in said):
        return BatchTooLarge(text)
    if reply.status_code in (429, 503):
        wait = _retry_after_seconds(reply.headers.get("retry-after"))
        return TryAgain(text, max_retries=_BUSY_RETRIES, retry_after_seconds=wait)
    return EntailmentUnavailable(text)


def _message(reply: httpx2.Response) -> str:
    """The `error` of TEI's error body; "" where something else answered."""
    try:
        body = reply.json()
    except ValueError:
        return ""
    return str(body.get("error", ""))[:200] if isinstance(body, dict) else ""


def _retry_after_seconds(header: str | None) -> float | None:
    """Seconds, or a date (RFC 9110); None where there is neither."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
