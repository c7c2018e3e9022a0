"""Streams of events, to be read once and closed: with an event loop and without."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import Self

from demur_client._events import AnswerEvent


class AnswerStream:
    """The events of one answer. Leaving the `with` block, or `close()`, ends it; the service then stops working on it.

    A loop that is left early without either closes it when the stream is no longer referred to.
    """

    def __init__(self, events: Generator[AnswerEvent]) -> None:
        self._events = events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AnswerEvent:
        """Raises: DemurError and its children; what goes wrong on the way is raised, too."""
        return next(self._events)

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncAnswerStream:
    """The events of one answer. Leaving the `async with` block, or `await close()`, ends it, and the work on it."""

    def __init__(self, events: AsyncGenerator[AnswerEvent]) -> None:
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnswerEvent:
        """Raises: DemurError and its children; what goes wrong on the way is raised, too."""
        return await anext(self._events)

    async def close(self) -> None:
        """Hang up; a second call does nothing."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
