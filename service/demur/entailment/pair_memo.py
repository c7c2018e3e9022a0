"""A bounded memory of verdicts in front of an `EntailmentModel`, and the counts of one request."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
from cachetools import LRUCache

from demur.caching.shared_pairs import SharedPairs
from demur.entailment.base import CanHang, EntailmentModel
from demur.errors import EntailmentUnavailable
from demur.observability import tracing
from demur.observability.metrics import Metrics
from demur.types import ANONYMOUS, Pair, Statement, Verdict

_IDENTICAL = Verdict(entailment=1.0, neutral=0.0, contradiction=0.0)

# A pair is remembered by digest: 50,000 pairs are some 15 MB however long their texts, and no text of a user is kept.
_Key = tuple[bytes, bytes]

# What is asked ahead of need waits while more pairs than this are with the model: some 0.2 s of work for a CPU, and the
# longest that a pair which is needed may have to wait for those which perhaps are not.
_CALM_PAIRS = 32


@dataclass(frozen=True, slots=True)
class Labelled:
    """Verdicts, and where they came from: `n_model + n_cached + n_identical == len(verdicts)`.

    `n_model` pairs were asked of the model for this call; `n_cached` were remembered, stood in the call already, or
    were just being asked by another one.
    """

    verdicts: list[Verdict]
    n_model: int
    n_cached: int
    n_identical: int


@dataclass(eq=False, slots=True)
class _Asking:
    """One question to the model under way. Neither verdicts nor a failure at the end: it was never put."""

    verdicts: Mapping[_Key, Verdict] = field(default_factory=dict)
    failure: EntailmentUnavailable | None = None
    is_done: anyio.Event = field(default_factory=anyio.Event)


class PairMemo:
    """An `EntailmentModel` that asks `inner` for each pair once, while the pair is among the last `max_pairs` used.

    Calls that need the same pair at the same time share one question. When it fails, it fails for each of them and is
    not remembered; when the call that put it leaves, or found no place, the next one puts it again. What is not known
    here may be in `shared`. Tenants share nothing.
    """

    def __init__(
        self, inner: EntailmentModel, metrics: Metrics, *, max_pairs: int = 50_000, shared: SharedPairs | None = None
    ) -> None:
        self._inner = inner
        self._shared = shared
        self._metrics = metrics
        self._verdicts: LRUCache[_Key, Verdict] = LRUCache(max_pairs)
        self._asking: dict[_Key, _Asking] = {}

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def is_stuck(self) -> bool:
        """Whether the model hangs, so that nothing can be asked of it."""
        return isinstance(self._inner, CanHang) and self._inner.is_stuck

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return (await self.label_counted(pairs)).verdicts

    async def calm(self) -> None:
        """Wait until few pairs are with the model. Who asks at once, without an `await` between, is alone with that."""
        while len(self._asking) > _CALM_PAIRS:
            await next(iter(self._asking.values())).is_done.wait()

    async def label_counted(
        self, pairs: Sequence[Pair], tenant: str = ANONYMOUS, answered: set[Pair] | None = None
    ) -> Labelled:
        """As `label`, with the counts of this call; pairs that the model judges for it are added to `answered`."""
        keys = _keys(pairs, tenant)
        asked = dict(zip(keys, pairs, strict=True))
        known: dict[_Key, Verdict] = {}
        n_model = 0
        while missing := [key for key in asked if key not in known]:
            known |= self._remembered(missing)
            others = {self._asking[key] for key in missing if key in self._asking}
            mine = {key: asked[key] for key in missing if key not in known and key not in self._asking}
            if mine:
                verdicts, n_asked = await self._ask(mine, tenant, answered)
                known |= verdicts
                n_model += n_asked
            for asking in others:
                known |= await self._overhear(asking)
        return self._counted([known[key] for key in keys], n_model, sum(_is_identical(key) for key in keys))

    async def aclose(self) -> None:
        self._verdicts.clear()
        await self._inner.aclose()

    def _remembered(self, keys: Sequence[_Key]) -> dict[_Key, Verdict]:
        remembered = {key: self._verdicts[key] for key in keys if key in self._verdicts}
        return remembered | {key: _IDENTICAL for key in keys if _is_identical(key)}

    async def _ask(
        self, pairs: Mapping[_Key, Pair], tenant: str, answered: set[Pair] | None
    ) -> tuple[Mapping[_Key, Verdict], int]:
        """The verdicts, and how many of them are the model's."""
        asking = _Asking()
        self._asking |= dict.fromkeys(pairs, asking)
        try:
            found = await self._shared.find(tenant, pairs) if self._shared else {}
            new = await self._label({key: pair for key, pair in pairs.items() if key not in found})
            asking.verdicts = found | new
            self._verdicts.update(asking.verdicts)
            if self._shared:
                self._shared.keep(tenant, new)
            if answered is not None:  # before anybody who overhears is told
                answered.update(pairs[key] for key in new)
        except EntailmentUnavailable as failure:
            asking.failure = failure
            raise
        finally:
            for key in pairs:
                del self._asking[key]
            asking.is_done.set()
        return asking.verdicts, len(new)

    async def _label(self, pairs: Mapping[_Key, Pair]) -> dict[_Key, Verdict]:
        if not pairs:
            return {}
        with tracing.span("nli.batch", is_call=True) as span:
            span.set({"demur.nli.model": self.model, "demur.nli.pairs": len(pairs)})
            verdicts = await self._inner.label(list(pairs.values()))
        return dict(zip(pairs, verdicts, strict=True))

    async def _overhear(self, asking: _Asking) -> Mapping[_Key, Verdict]:
        await asking.is_done.wait()
        if asking.failure is not None:
            raise EntailmentUnavailable(str(asking.failure)) from asking.failure
        return asking.verdicts

    def _counted(self, verdicts: list[Verdict], n_model: int, n_identical: int) -> Labelled:
        n_cached = len(verdicts) - n_model - n_identical
        self._metrics.nli_pairs.labels(source="cache").inc(n_cached)
        self._metrics.nli_pairs.labels(source="identical").inc(n_identical)
        return Labelled(verdicts, n_model=n_model, n_cached=n_cached, n_identical=n_identical)


class PairTally:
    """An `EntailmentModel` for one request: labels through the common memo, and counts what the request used.

    `label` uses its pairs; `label_ahead` asks for pairs that may be used later. `n_model` used pairs were asked of the
    model for this request, ahead or not; `n_cached` were remembered, or asked by another; `n_speculative` were asked of
    the model ahead, and never used.
    """

    def __init__(self, memo: PairMemo, tenant: str = ANONYMOUS) -> None:
        self._memo = memo
        self._tenant = tenant
        self._known: dict[Pair, Verdict] = {}
        self._under_way: set[Pair] = set()
        self._answered: set[Pair] = set()
        self._used: dict[Pair, Verdict] = {}
        self.n_model = 0
        self.n_cached = 0
        self.n_identical = 0
        self.n_truncated = 0

    @property
    def model(self) -> str:
        return self._memo.model

    @property
    def n_speculative(self) -> int:
        return len(self._answered - self._used.keys())

    @property
    def used(self) -> Mapping[Pair, Verdict]:
        """What was asked by `label`, and answered."""
        return self._used

    @property
    def known(self) -> Mapping[Pair, Verdict]:
        """What was asked ahead, and answered."""
        return self._known

    @property
    def asked_ahead(self) -> Collection[Pair]:
        """Answered or not."""
        return self._known.keys() | self._under_way

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        unknown = [pair for pair in pairs if pair not in self._known]
        labelled = await self._memo.label_counted(unknown, self._tenant, self._answered)
        found = {**self._known, **dict(zip(unknown, labelled.verdicts, strict=True))}
        verdicts = [found[pair] for pair in pairs]
        for pair, verdict in zip(pairs, verdicts, strict=True):
            self._count(pair, verdict)
        return verdicts

    async def label_ahead(self, pairs: Sequence[Pair]) -> None:
        """One call at a time. Raises: EntailmentUnavailable, Overloaded."""
        self._under_way = set(pairs)
        try:
            labelled = await self._memo.label_counted(pairs, self._tenant, self._answered)
            self._known.update(zip(pairs, labelled.verdicts, strict=True))
        finally:
            self._under_way = set()

    async def calm(self) -> None:
        """Wait until the model is not busy with what other requests need."""
        await self._memo.calm()

    async def aclose(self) -> None:
        """Leaves the memo open: other requests share it."""

    def _count(self, pair: Pair, verdict: Verdict) -> None:
        self.n_truncated += verdict.is_truncated
        if pair.premise == pair.hypothesis:
            self.n_identical += 1
        elif pair in self._answered and pair not in self._used:
            self.n_model += 1
        else:
            self.n_cached += 1
        self._used[pair] = verdict


def _keys(pairs: Sequence[Pair], tenant: str) -> list[_Key]:
    scope = hashlib.blake2b(tenant.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    statements = {s for pair in pairs for s in (pair.premise, pair.hypothesis)}
    digests = {statement: _digest(statement, scope) for statement in statements}
    return [(digests[pair.premise], digests[pair.hypothesis]) for pair in pairs]


def _digest(statement: Statement, scope: bytes) -> bytes:
    question = statement.question.encode("utf-8", "surrogatepass")
    # The length in front keeps ("ab", "c") and ("a", "bc") apart.
    digest = hashlib.blake2b(b"%d:%b" % (len(question), question), digest_size=16, key=scope)
    digest.update(statement.answer.encode("utf-8", "surrogatepass"))
    return digest.digest()


def _is_identical(key: _Key) -> bool:
    return key[0] == key[1]
