"""Pairs of all concurrent requests, in batches for one model on one thread.

    label(pairs) -> permit -> tokenise (worker threads) -> line of requests -> batch -> model (its thread) -> replies

Nothing waits for a batch to fill: whatever stands in line when the model becomes free goes next, so batches grow with
the load. Everything but tokenising and the model runs on the event loop, in callbacks: there is no lock and no task.
The next batch is composed when the model is free and not before, because a batch composed early is a smaller one; what
is prepared meanwhile is the costly part, its tokens.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from demur.errors import EntailmentUnavailable, Overloaded
from demur.model_thread import ModelThread
from demur.observability.metrics import Metrics
from demur.types import Pair, Verdict

# Pairs up to this many tokens are batched together whatever their length: padding such a batch costs little, and
# nearly all pairs of question and short answer are that short.
_SHORT_TOKENS = 64

# Tokenising is short and releases the GIL; more threads than this would only take the model's cores.
_TOKENISING_THREADS = 2

# Less than this is tokenised on the event loop, within a millisecond: a thread would wait for a core that models use.
_QUICK_CHARACTERS = 4096

_CLOSE_SECONDS = 5.0

# On a CPU the time per pair is flat from some 300 padded tokens on (measured: 6.5 ms at 272, 6.2 at 1088, 6.7 at 4352),
# and a longer batch only makes the next request wait longer. A GPU fills with more.
_MAX_BATCH_TOKENS = 1024


class HasTokens(Protocol):
    @property
    def n_tokens(self) -> int: ...


Encoded = TypeVar("Encoded", bound=HasTokens)


class PairClassifier(Protocol[Encoded]):
    """A synchronous NLI model. `encode` may run in several threads at once; `predict` always runs in the same one."""

    @property
    def model(self) -> str: ...

    def encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """One per pair, in order."""

    def predict(self, batch: Sequence[Encoded]) -> list[Verdict]:
        """One per encoded pair, in order."""


@dataclass(eq=False, slots=True)
class _Request(Generic[Encoded]):
    """One call of `label`. `waiting`: its pairs that are in no batch yet, longest first."""

    n_pairs: int
    arrived: float
    waiting: list[_Waiting[Encoded]] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    failure: str | None = None
    cause: BaseException | None = None
    is_done: anyio.Event = field(default_factory=anyio.Event)

    def put(self, encoded: Sequence[Encoded]) -> None:
        waiting = [_Waiting(self, index, pair) for index, pair in enumerate(encoded)]
        self.waiting = sorted(waiting, key=lambda w: w.pair.n_tokens, reverse=True)

    def answer(self, index: int, verdict: Verdict) -> None:
        self.verdicts[index] = verdict
        if len(self.verdicts) == self.n_pairs:
            self.is_done.set()

    def fail(self, reason: str, cause: BaseException | None = None) -> None:
        self.failure, self.cause = reason, cause
        self.is_done.set()

    def result(self) -> list[Verdict]:
        if self.failure is not None:
            raise EntailmentUnavailable(self.failure) from self.cause
        return [self.verdicts[index] for index in range(self.n_pairs)]


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Encoded]):
    """One pair of a request."""

    request: _Request[Encoded]
    index: int
    pair: Encoded

    @property
    def length_class(self) -> int:
        """Pairs of one class share batches: <= 64 tokens, <= 128, <= 256, ...; so padding at most doubles long ones."""
        return max(_SHORT_TOKENS, 1 << (self.pair.n_tokens - 1).bit_length())


@dataclass(eq=False, slots=True)
class _Batch(Generic[Encoded]):
    """Pairs that go to the model together, at most `max_tokens` with padding; one pair longer than that goes alone."""

    max_tokens: int
    waiting: list[_Waiting[Encoded]] = field(default_factory=list)
    width: int = 0
    timer: asyncio.TimerHandle | None = None
    is_given_up: bool = False
    is_over: anyio.Event = field(default_factory=anyio.Event)

    def __len__(self) -> int:
        return len(self.waiting)

    @property
    def n_tokens(self) -> int:
        """Padding included."""
        return len(self.waiting) * self.width

    @property
    def requests(self) -> list[_Request[Encoded]]:
        return list(dict.fromkeys(w.request for w in self.waiting))

    def offer(self, waiting: _Waiting[Encoded]) -> bool:
        """Takes the pair if there is room for it."""
        width = max(self.width, waiting.pair.n_tokens)
        if self.waiting and (len(self.waiting) + 1) * width > self.max_tokens:
            return False
        self.waiting.append(waiting)
        self.width = width
        return True


class _Line(Generic[Encoded]):
    """Requests in the order they came.

    A batch is filled from the head of the line backwards, with pairs as long as the head's longest, so the head moves
    on in every batch. A head that is not finished then goes to the end of the line: a request of a thousand pairs
    delays one of five by a single batch, and requests that fit into one batch are served first come, first served.
    """

    def __init__(self) -> None:
        self._requests: deque[_Request[Encoded]] = deque()

    def __bool__(self) -> bool:
        return bool(self._requests)

    @property
    def n_pairs(self) -> int:
        return sum(len(request.waiting) for request in self._requests)

    def add(self, request: _Request[Encoded]) -> None:
        self._requests.append(request)

    def remove(self, request: _Request[Encoded]) -> None:
        """Forget the pairs of a request that nobody waits for; harmless when none is left."""
        if request in self._requests:
            self._requests.remove(request)
        request.waiting = []

    def clear(self) -> list[_Request[Encoded]]:
        requests = list(self._requests)
        for request in requests:
            self.remove(request)
        return requests

    def take(self, max_tokens: int) -> _Batch[Encoded]:
        """The next batch; the line must not be empty."""
        batch: _Batch[Encoded] = _Batch(max_tokens)
        head = self._requests[0]
        length_class = head.waiting[0].length_class
        for request in self._requests:
            request.waiting = [w for w in request.waiting if w.length_class != length_class or not batch.offer(w)]
        self._requests.rotate(-1)
        self._requests = deque(request for request in self._requests if request.waiting)
        return batch


class Batcher(Generic[Encoded]):
    """An `EntailmentModel` over a `PairClassifier`.

    At most `max_waiting_pairs` wait at a time; a call that finds no place raises `Overloaded` at once. A batch holds at
    most `max_batch_tokens` padded tokens. A failed batch fails the calls that had a pair in it, and no other.

    A batch that takes longer than `timeout_seconds` is given up: its calls and those in line fail, and new ones are
    refused (`is_stuck`) while the model hangs, because a thread cannot be killed and a second one in the same model is
    not safe. When the model comes back after all, its late verdicts are thrown away and the batcher works again.
    """

    def __init__(
        self,
        classifier: PairClassifier[Encoded],
        metrics: Metrics,
        *,
        max_batch_tokens: int = _MAX_BATCH_TOKENS,
        max_waiting_pairs: int = 4096,
        timeout_seconds: float = 30.0,
        thread: ModelThread | None = None,
    ) -> None:
        """`thread` stays its owner's to close; without one the model has a thread of its own."""
        self._classifier = classifier
        self._metrics = metrics
        self._max_batch_tokens = max_batch_tokens
        self._max_waiting_pairs = max_waiting_pairs
        self._timeout_seconds = timeout_seconds
        self._tokenisers = CapacityLimiter(_TOKENISING_THREADS)
        self._thread = thread or ModelThread("demur-nli")
        self._owns_thread = thread is None
        self._line: _Line[Encoded] = _Line()
        self._running: _Batch[Encoded] | None = None
        self._tokenising: set[_Request[Encoded]] = set()
        self._is_closed = False

    @property
    def model(self) -> str:
        return self._classifier.model

    @property
    def is_stuck(self) -> bool:
        """Whether the model has outlived its time on a batch and has not come back."""
        return self._running is not None and self._running.is_given_up

    @property
    def n_waiting(self) -> int:
        """Pairs that have a permit and are in no batch yet."""
        return self._line.n_pairs + sum(request.n_pairs for request in self._tokenising)

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Raises: EntailmentUnavailable, Overloaded."""
        self._check_open()
        if not pairs:
            return []
        request: _Request[Encoded] = _Request(len(pairs), time.perf_counter())
        with self._permit(request):
            encoded = await self._encode(pairs)
            self._check_open()
            request.put(encoded)
        self._line.add(request)
        try:
            self._dispatch()
            await request.is_done.wait()
        finally:
            self._line.remove(request)
            self._show_queue()
        return request.result()

    async def aclose(self) -> None:
        """Fail what waits, and let the batch under way end, for a few seconds at most."""
        if self._is_closed:
            return
        self._is_closed = True
        running = [self._running] if self._running else []
        waiters = [*self._line.clear(), *(request for batch in running for request in batch.requests)]
        self._fail(waiters, "the NLI model is closed: the service is shutting down")
        if self._owns_thread:
            self._thread.close()
        for batch in running:
            with anyio.move_on_after(_CLOSE_SECONDS):
                await batch.is_over.wait()

    def _check_open(self) -> None:
        if self._is_closed:
            raise EntailmentUnavailable("the NLI model is closed: the service is shutting down")
        if self.is_stuck:
            raise EntailmentUnavailable(f"the NLI model has not answered for {self._timeout_seconds:g} s")

    @contextmanager
    def _permit(self, request: _Request[Encoded]) -> Iterator[None]:
        """A place for every pair of the request, before any work is done for it."""
        if self.n_waiting + request.n_pairs > self._max_waiting_pairs:
            raise Overloaded(f"{self.n_waiting} pairs wait for the NLI model, and {self._max_waiting_pairs} may")
        self._tokenising.add(request)
        self._show_queue()
        try:
            yield
        finally:
            self._tokenising.discard(request)
            self._show_queue()

    async def _encode(self, pairs: Sequence[Pair]) -> list[Encoded]:
        encode = partial(self._classifier.encode, pairs)
        try:
            if _n_characters(pairs) <= _QUICK_CHARACTERS:
                return encode()
            with anyio.fail_after(self._timeout_seconds):
                return await to_thread.run_sync(encode, limiter=self._tokenisers, abandon_on_cancel=True)
        except Exception as error:
            raise EntailmentUnavailable(f"the NLI model {self.model} cannot read these texts: {error!r}") from error

    def _dispatch(self) -> None:
        """Hand the next batch to the model, if it is free and somebody waits."""
        if self._running is not None or not self._line or self._is_closed:
            return
        batch = self._running = self._line.take(self._max_batch_tokens)
        self._record(batch)
        self._thread.submit_quick(partial(self._predict, batch, asyncio.get_running_loop()))

    def _predict(self, batch: _Batch[Encoded], loop: asyncio.AbstractEventLoop) -> None:
        """On the model's thread: whatever happens to the model, the event loop hears of it, as long as there is one."""
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._watch, batch)
        started = time.perf_counter()
        outcome: list[Verdict] | Exception
        try:
            outcome = self._classifier.predict([w.pair for w in batch.waiting])
        except Exception as error:
            outcome = error
        self._metrics.nli_batch_seconds.observe(time.perf_counter() - started)
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._finish, batch, outcome)

    def _watch(self, batch: _Batch[Encoded]) -> None:
        """From when the model has begun: until then its thread may be at work for another."""
        batch.timer = asyncio.get_running_loop().call_later(self._timeout_seconds, self._give_up, batch)

    def _finish(self, batch: _Batch[Encoded], outcome: list[Verdict] | Exception) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        self._running = None
        batch.is_over.set()
        if not batch.is_given_up:
            self._reply(batch, outcome)
        self._dispatch()

    def _reply(self, batch: _Batch[Encoded], outcome: list[Verdict] | Exception) -> None:
        if isinstance(outcome, Exception):
            self._fail(batch.requests, f"the NLI model {self.model} failed: {outcome}", outcome)
        elif len(outcome) != len(batch):
            self._fail(batch.requests, f"the NLI model {self.model} gave {len(outcome)} of {len(batch)} verdicts")
        else:
            self._metrics.nli_pairs.labels(source="model").inc(len(batch))
            for waiting, verdict in zip(batch.waiting, outcome, strict=True):
                waiting.request.answer(waiting.index, verdict)

    def _give_up(self, batch: _Batch[Encoded]) -> None:
        batch.is_given_up = True
        reason = f"the NLI model {self.model} did not answer within {self._timeout_seconds:g} s"
        self._fail([*batch.requests, *self._line.clear()], reason)

    def _fail(self, requests: Sequence[_Request[Encoded]], reason: str, cause: BaseException | None = None) -> None:
        for request in requests:
            self._line.remove(request)
            request.fail(reason, cause)

    def _record(self, batch: _Batch[Encoded]) -> None:
        now = time.perf_counter()
        self._metrics.nli_batch_pairs.observe(len(batch))
        self._metrics.nli_batch_tokens.observe(batch.n_tokens)
        for waiting in batch.waiting:
            self._metrics.nli_queue_seconds.observe(now - waiting.request.arrived)
        self._show_queue()

    def _show_queue(self) -> None:
        self._metrics.nli_queue_pairs.set(self.n_waiting)


def _n_characters(pairs: Sequence[Pair]) -> int:
    sides = [side for pair in pairs for side in (pair.premise, pair.hypothesis)]
    return sum(len(side.question) + len(side.answer) for side in sides)
