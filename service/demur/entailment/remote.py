"""NLI on a text-embeddings-inference server; nothing here needs torch.

    label(pairs) -> permit -> texts that fit (the server counts their tokens where it matters) -> batches -> /predict

The server puts the pairs of all its clients into batches, so that no batcher stands in front of it here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
from anyio import CancelScope, CapacityLimiter

from demur.entailment.fitting import CHARACTERS_PER_TOKEN, TokenizedStatement, Tokens, fit
from demur.entailment.labels import LabelOrder
from demur.entailment.tei_client import Score, ServerInfo, TEIClient
from demur.errors import EntailmentUnavailable, Overloaded
from demur.observability.metrics import Metrics
from demur.types import Pair, Statement, Verdict

# Requests under way at once. The server merges them into batches of its own; more would only wait there, not here.
_MAX_REQUESTS = 8

# Tokens kept free: at most 4 special ones frame a pair, and a text cut between two tokens, or a space between question
# and answer, may read as a token or two more than counted.
_SPARE_TOKENS = 8

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A pair as it is sent."""

    texts: tuple[str, str]
    is_truncated: bool

    @classmethod
    def of(cls, premise: Statement, hypothesis: Statement, *, is_truncated: bool = False) -> _Prepared:
        return cls((_text(premise), _text(hypothesis)), is_truncated)


class RemoteModel:
    """An `EntailmentModel` over TEI's `/predict`.

    At most `max_inflight_pairs` wait or are being answered at a time; a call that finds no place raises `Overloaded` at
    once. The server truncates at the end, where the answer stands, and does not say so; so texts are cut here: those of
    more bytes than the window has tokens are tokenised by the server first, and cut as the local model cuts them.
    """

    def __init__(
        self,
        client: TEIClient,
        info: ServerInfo,
        labels: Sequence[str],
        metrics: Metrics,
        *,
        max_length: int = 512,
        max_inflight_pairs: int = 20_000,
    ) -> None:
        self.model = info.name
        self._client = client
        self._metrics = metrics
        self._labels = LabelOrder.from_config(dict(enumerate(labels)))
        self._index = {label: index for index, label in enumerate(labels)}
        self._window = min(max_length, info.max_input_length)
        self._room = max(1, self._window - _SPARE_TOKENS)
        self._batch_size = min(info.max_client_batch_size, info.max_concurrent_requests)
        n_requests = max(1, min(_MAX_REQUESTS, info.max_concurrent_requests // self._batch_size))
        self._requests = CapacityLimiter(n_requests)
        self._max_inflight_pairs = max_inflight_pairs
        self._n_inflight = 0
        self._n_sent = 0
        self._calls: set[CancelScope] = set()
        self._is_closed = False

    @classmethod
    def connect(
        cls,
        url: str,
        metrics: Metrics,
        *,
        api_key: str | None = None,
        max_length: int = 512,
        max_inflight_pairs: int = 20_000,
        timeout_seconds: float = 30.0,
    ) -> RemoteModel:
        """Asks the server what it is; blocks.

        Raises: EntailmentUnavailable when it cannot be reached, or its labels are not those of an NLI model.
        """
        client = TEIClient(url, api_key=api_key, timeout_seconds=timeout_seconds)
        info, labels = client.introduce()
        try:
            return cls(client, info, labels, metrics, max_length=max_length, max_inflight_pairs=max_inflight_pairs)
        except ValueError as error:
            raise EntailmentUnavailable(f"{info.name} at {url} cannot judge entailment: {error}") from error

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """Raises: EntailmentUnavailable, Overloaded."""
        self._check_open()
        if not pairs:
            return []
        verdicts: list[Verdict] = []
        with self._permit(len(pairs)), CancelScope() as call:
            self._calls.add(call)
            try:
                verdicts = await self._labelled(pairs)
            finally:
                self._calls.discard(call)
        if call.cancelled_caught:
            self._check_open()
        return verdicts

    async def aclose(self) -> None:
        """Fail what waits, and close the connections."""
        self._is_closed = True
        for call in tuple(self._calls):
            call.cancel()
        await self._client.aclose()

    def _check_open(self) -> None:
        if self._is_closed:
            raise EntailmentUnavailable("the NLI model is closed: the service is shutting down")

    @contextmanager
    def _permit(self, n_pairs: int) -> Iterator[None]:
        if self._n_inflight + n_pairs > self._max_inflight_pairs:
            raise Overloaded(f"{self._n_inflight} pairs are at the NLI server, and {self._max_inflight_pairs} may be")
        self._n_inflight += n_pairs
        self._show_queue()
        try:
            yield
        finally:
            self._n_inflight -= n_pairs
            self._show_queue()

    async def _labelled(self, pairs: Sequence[Pair]) -> list[Verdict]:
        prepared = await self._prepared(pairs)
        batches = [prepared[i : i + self._batch_size] for i in range(0, len(prepared), self._batch_size)]
        verdicts: list[list[Verdict]] = [[] for _ in batches]
        failures: list[EntailmentUnavailable] = []

        async def answer(index: int) -> None:
            try:
                verdicts[index] = await self._predicted(batches[index])
            except EntailmentUnavailable as failure:
                failures.append(failure)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for index in range(len(batches)):
                tasks.start_soon(answer, index)
        if failures:
            raise failures[0]
        return [verdict for batch in verdicts for verdict in batch]

    async def _predicted(self, batch: Sequence[_Prepared]) -> list[Verdict]:
        arrived = time.perf_counter()
        async with self._requests:
            started = time.perf_counter()
            with self._sending(len(batch)):
                rows = await self._client.predict([prepared.texts for prepared in batch])
        self._record(len(batch), queue_seconds=started - arrived, seconds=time.perf_counter() - started)
        return [self._verdict(row, prepared.is_truncated) for row, prepared in zip(rows, batch, strict=True)]

    def _verdict(self, row: Sequence[Score], is_truncated: bool) -> Verdict:
        scores = {self._index.get(score.label): score.score for score in row}
        total = math.fsum(scores.values())
        if scores.keys() != set(self._index.values()):
            raise EntailmentUnavailable(f"the NLI server's labels changed to {[score.label for score in row]}")
        if min(scores.values()) < 0 or abs(total - 1.0) > _SUM_TOLERANCE:
            raise EntailmentUnavailable("the NLI server's scores are not probabilities")
        # They are float32 on the wire, and sum to 1 in float64 only after this.
        probabilities = [scores[index] / total for index in range(len(self._index))]
        return self._labels.verdict(probabilities, is_truncated=is_truncated)

    async def _prepared(self, pairs: Sequence[Pair]) -> list[_Prepared]:
        """A token is at least a byte long, so that most pairs are known to fit without being tokenised."""
        doubtful = [pair for pair in pairs if _n_bytes(pair) > self._room]
        tokenized = await self._tokenized({s for pair in doubtful for s in (pair.premise, pair.hypothesis)})
        return [
            self._cut(pair, tokenized) if _n_bytes(pair) > self._room else _Prepared.of(pair.premise, pair.hypothesis)
            for pair in pairs
        ]

    def _cut(self, pair: Pair, tokenized: dict[Statement, TokenizedStatement]) -> _Prepared:
        premise, hypothesis, is_cut = fit(tokenized[pair.premise], tokenized[pair.hypothesis], self._room)
        return _Prepared.of(premise, hypothesis, is_truncated=is_cut)

    async def _tokenized(self, statements: set[Statement]) -> dict[Statement, TokenizedStatement]:
        n = self._window * CHARACTERS_PER_TOKEN
        short = {s: Statement(_as_utf8(s.answer[:n]), _as_utf8(s.question[-n:])) for s in statements}
        # Apart, so that a question is tokenised once for all its answers.
        tokens = await self._tokens({text for s in short.values() for text in (s.question, s.answer)} - {""})
        return {
            full: TokenizedStatement(
                tokens[s.question], tokens[s.answer], is_cut=len(full.question) > n or len(full.answer) > n
            )
            for full, s in short.items()
        }

    async def _tokens(self, texts: set[str]) -> dict[str, Tokens]:
        found = {"": Tokens("")}
        waiting = list(texts)
        while waiting:
            batch, waiting = waiting[: self._batch_size], waiting[self._batch_size :]
            async with self._requests:
                rows = await self._client.tokenize(batch)
            for text, row in zip(batch, rows, strict=True):
                spans = ((t.start, t.stop) for t in row)
                found[text] = Tokens(text, tuple((a, b) for a, b in spans if a is not None and b is not None))
        return found

    @contextmanager
    def _sending(self, n_pairs: int) -> Iterator[None]:
        self._n_sent += n_pairs
        self._show_queue()
        try:
            yield
        finally:
            self._n_sent -= n_pairs
            self._show_queue()

    def _record(self, n_pairs: int, *, queue_seconds: float, seconds: float) -> None:
        self._metrics.nli_pairs.labels(source="model").inc(n_pairs)
        self._metrics.nli_batch_pairs.observe(n_pairs)
        self._metrics.nli_batch_seconds.observe(seconds)
        for _ in range(n_pairs):
            self._metrics.nli_queue_seconds.observe(queue_seconds)

    def _show_queue(self) -> None:
        self._metrics.nli_queue_pairs.set(self._n_inflight - self._n_sent)


def _text(statement: Statement) -> str:
    """A lone space where there is no text: the server refuses a whole batch for an empty pair."""
    text = f"{statement.question} {statement.answer}" if statement.question else statement.answer
    return _as_utf8(text) or " "


def _as_utf8(text: str) -> str:
    """JSON carries no lone surrogates; they become question marks."""
    return text.encode(errors="replace").decode()


def _n_bytes(pair: Pair) -> int:
    """Of both texts, in UTF-8."""
    texts = (pair.premise.question, pair.premise.answer, pair.hypothesis.question, pair.hypothesis.answer)
    return sum(len(text.encode(errors="replace")) + 1 for text in texts)
