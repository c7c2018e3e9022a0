"""`Idempotency-Key`: a request that is sent twice is done once.

A client that sends a key relies on it. Where the store is away the request is refused (503) rather than done without;
where the work is done and its reply cannot be kept, the reply says so (`Idempotency-Kept: false`). Replies other than
2xx are not kept: what was refused may be sent again with the same key. Events are kept when they have all been told.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import Request, Response

from demur.api.streaming import EventStream, wants_events
from demur.errors import DemurError, IdempotencyInProgress, InvalidRequest
from demur.observability.logging import logger
from demur.storage.base import InProgress, Replay, Started, Store

MAX_KEY_CHARS = 255
_KEY = re.compile(rf"[!-~]{{1,{MAX_KEY_CHARS}}}")
_KEPT_HEADERS = ("content-type", "x-demur-")
_POLL_SECONDS = 2.0  # when to ask again for what is still running
_MARGIN_SECONDS = 10.0  # beyond a request's own time, for what is around it
_DEFAULT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keeps replies in `store` for `keep_seconds`; 0: not at all. No request takes longer than `max_seconds`."""

    store: Store
    keep_seconds: float
    max_seconds: float

    async def reply(
        self, request: Request, document: Any, tenant: str, respond: Callable[[], Awaitable[Response]]
    ) -> Response:
        """What `respond` gives, or gave when this key of this tenant was first used on this route.

        Raises InvalidRequest, IdempotencyInProgress, IdempotencyMismatch, StoreUnavailable, StoreFull, or as `respond`.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return await respond()
        self._check(key)
        scope = f"{tenant}:{request.scope['endpoint'].__name__}"  # one for all paths of a route
        form = b"events:" if wants_events(request) else b"body:"
        fingerprint = hashlib.sha256(form + await request.body()).hexdigest()
        hold = _seconds_asked(document, self.max_seconds) + _MARGIN_SECONDS
        outcome = await self.store.begin(scope, key, fingerprint, hold_seconds=hold)
        if isinstance(outcome, Replay):
            return _unpack(outcome.response)
        if isinstance(outcome, InProgress):
            wait = min(_POLL_SECONDS, outcome.seconds_left)
            message = "the first request with this Idempotency-Key is still running"
            raise IdempotencyInProgress(message, retry_after_seconds=wait)
        return await self._first(scope, key, outcome, respond)

    def _check(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            raise InvalidRequest(f"an Idempotency-Key is 1 to {MAX_KEY_CHARS} printable ASCII characters, no spaces")
        if not self.keep_seconds:
            raise InvalidRequest("this service keeps no replies; leave Idempotency-Key out")

    async def _first(
        self, scope: str, key: str, started: Started, respond: Callable[[], Awaitable[Response]]
    ) -> Response:
        packed, is_stream = None, False
        try:
            response = await respond()
            if is_stream := isinstance(response, EventStream):
                response.at_end(lambda events: self._end(scope, key, started, response, events))
            else:
                packed = _pack(response, bytes(response.body))
        finally:
            if packed is None and not is_stream:
                with anyio.CancelScope(shield=True):
                    await self._abandon(scope, key, started)
        if packed is not None and not await self._is_kept(scope, key, started, packed):
            response.headers["Idempotency-Kept"] = "false"
        return response

    async def _end(self, scope: str, key: str, started: Started, response: Response, events: bytes | None) -> None:
        packed = None if events is None else _pack(response, events)
        if packed is None:
            await self._abandon(scope, key, started)
        else:
            await self._is_kept(scope, key, started, packed)

    async def _is_kept(self, scope: str, key: str, started: Started, packed: bytes) -> bool:
        try:
            return await self.store.finish(scope, key, started.holder, packed, keep_seconds=self.keep_seconds)
        except DemurError as error:
            logger.warning("a reply could not be kept for its Idempotency-Key", reason=error.code)
            return False

    async def _abandon(self, scope: str, key: str, started: Started) -> None:
        try:
            await self.store.abandon(scope, key, started.holder)
        except DemurError as error:  # the key frees itself when its time is over
            logger.warning("an Idempotency-Key could not be given back", reason=error.code)


def _seconds_asked(document: Any, at_most: float) -> float:
    """How long the request may take: a holder that crashed is waited for no longer."""
    asked = document.get("timeout_s") if isinstance(document, dict) else None
    if isinstance(document, dict) and isinstance(options := document.get("uncertainty"), dict):
        asked = options.get("timeout_s")
    seconds = float(asked) if isinstance(asked, int | float) and asked > 0 else _DEFAULT_SECONDS
    return min(seconds, at_most)


def _pack(response: Response, body: bytes) -> bytes | None:
    """None for a refusal, which is not kept."""
    if not 200 <= response.status_code < 300:
        return None
    headers = {name: value for name, value in response.headers.items() if name.startswith(_KEPT_HEADERS)}
    return json.dumps({"status": response.status_code, "headers": headers, "body": body.decode()}).encode()


def _unpack(packed: bytes) -> Response:
    kept = json.loads(packed)
    response = Response(kept["body"], kept["status"], kept["headers"])
    response.headers["Idempotency-Replayed"] = "true"
    return response
