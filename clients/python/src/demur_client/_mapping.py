"""Many questions at once, in bounded memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from time import monotonic
from typing import Literal, Protocol, TextIO, TypeVar

from demur_client._errors import DemurError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Progress = bool | Literal["auto"]
"""Whether to draw a progress bar on stderr; `auto`: where stderr is a terminal."""


def map_in_threads(
    ask: Callable[[str], T], prompts: Iterable[str], *, concurrency: int, progress: Progress
) -> Iterator[tuple[int, T | DemurError]]:
    """(index, result or error) of each prompt as it is done; at most `concurrency` under way."""
    _check(concurrency)
    waiting = enumerate(prompts)
    bar = Bar(prompts, progress)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="demur-map") as pool, bar:
        running: dict[Future[T], int] = {}
        while True:
            for index, prompt in islice(waiting, concurrency - len(running)):
                running[pool.submit(ask, prompt)] = index
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                bar.advance()
                yield running.pop(future), _result(future)


async def map_in_tasks(
    ask: Callable[[str], Awaitable[T]], prompts: Iterable[str], *, concurrency: int, progress: Progress
) -> AsyncIterator[tuple[int, T | DemurError]]:
    """As `map_in_threads`, with tasks; leaving the loop early cancels those under way."""
    _check(concurrency)
    waiting = enumerate(prompts)
    running: dict[asyncio.Future[T], int] = {}
    bar = Bar(prompts, progress)
    try:
        with bar:
            while True:
                for index, prompt in islice(waiting, concurrency - len(running)):
                    running[asyncio.ensure_future(ask(prompt))] = index
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for future in done:
                    bar.advance()
                    yield running.pop(future), _result(future)
    finally:
        for future in running:
            future.cancel()
        await asyncio.gather(*running, return_exceptions=True)


class _Done(Protocol[T_co]):
    def exception(self) -> BaseException | None: ...
    def result(self) -> T_co: ...


def _result(future: _Done[T]) -> T | DemurError:
    """Errors of the service are results; anything else is a bug, and is raised."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, DemurError):
        return error
    raise error


def _check(concurrency: int) -> None:
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency}")


class Bar:
    """A line on stderr: how many are done, of how many, and how fast."""

    WIDTH = 30

    def __init__(self, prompts: Iterable[str], progress: Progress, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_shown = self._stream.isatty() if progress == "auto" else progress
        self._total = len(prompts) if isinstance(prompts, Sized) else None
        self._n_done = 0
        self._started = monotonic()

    def advance(self) -> None:
        self._n_done += 1
        if self._is_shown:
            self._stream.write(f"\r{self}")
            self._stream.flush()

    def __str__(self) -> str:
        rate = self._n_done / max(monotonic() - self._started, 1e-9)
        if not self._total:
            return f"{self._n_done} asked, {rate:.1f}/s "
        filled = self.WIDTH * self._n_done // self._total
        return f"{'━' * filled}{'─' * (self.WIDTH - filled)} {self._n_done}/{self._total}, {rate:.1f}/s "

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown and self._n_done:
            self._stream.write("\n")
            self._stream.flush()
