"""Entailment while samples are drawn, over a real server: the samples land when the test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2
import pytest
from structlog.testing import capture_logs

from demur.errors import EntailmentUnavailable
from demur.settings import NLISettings, Settings
from demur.types import Message, Pair, Sample, Sampling, Verdict
from tests.service.running import Service, half_asked, metric, serving, wait_for

WORDS = [("Lutetia", "Paris"), ("Paris", "Lutetia")]  # entail each other; nothing else does


class SteppedSampler:
    """Yields samples as they are landed from the test's thread, the greedy answer where it is told to."""

    model = "stepped"

    def __init__(self) -> None:
        self._queue: asyncio.Queue[str | None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.n_closed = 0

    @property
    def is_asked(self) -> bool:
        return self._queue is not None

    def land(self, *texts: str | None) -> None:
        """None ends the draw."""
        wait_for(lambda: self.is_asked, "the draw to begin")
        assert self._loop
        assert self._queue
        for text in texts:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, text)

    async def sample(
        self, messages: Sequence[Message], sampling: Sampling, on_text: object = None
    ) -> AsyncGenerator[Sample, None]:
        self._loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | None]()
        self._queue = queue
        try:
            for index in range(sampling.n):
                text = await queue.get()
                if text is None:
                    return
                yield Sample(text, index=index)
        finally:
            self._queue = None
            self.n_closed += 1

    async def aclose(self) -> None: ...


@dataclass
class HeldModel:
    """Words entail each other as listed. A call waits while the model is held, and fails while it is broken."""

    model: str = "held"
    calls: list[list[tuple[str, str]]] = field(default_factory=list)
    is_broken: bool = False
    n_left: int = 0
    n_failed: int = 0
    _free: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._free.set()

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [pair for call in self.calls for pair in call]

    def hold(self) -> None:
        self._free.clear()

    def release(self) -> None:
        self._free.set()

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        words = [(p.premise.answer, p.hypothesis.answer) for p in pairs]
        self.calls.append(words)
        try:
            while not self._free.is_set():  # noqa: ASYNC110 - the test's thread sets it
                await anyio.sleep(0.001)
        except asyncio.CancelledError:
            self.n_left += 1
            raise
        if self.is_broken:
            self.n_failed += 1
            raise EntailmentUnavailable("the model is gone")
        return [Verdict(0.98, 0.01, 0.01) if pair in WORDS else Verdict(0.01, 0.01, 0.98) for pair in words]

    async def aclose(self) -> None: ...


@dataclass
class Stage:
    service: Service
    sampler: SteppedSampler
    model: HeldModel
    pool: ThreadPoolExecutor

    def ask(self, n: int, **fields: object) -> Future[httpx2.Response]:
        body = {"sampling": {"n": n}, "include": ["clusters", "nli", "timings"], **fields}
        return self.pool.submit(self.service.ask, **body)  # type: ignore[arg-type]

    def land(self, *texts: str | None) -> None:
        self.sampler.land(*texts)

    def wait_until_asked(self, *pairs: tuple[str, str]) -> None:
        wait_for(lambda: set(pairs) <= set(self.model.asked), f"{pairs} to be asked")


@contextmanager
def staged(overlap: str = "on") -> Iterator[Stage]:
    sampler, model = SteppedSampler(), HeldModel()
    settings = Settings(nli=NLISettings.model_validate({"overlap": overlap}))
    with serving({}, sampler=sampler, entailment=model, settings=settings) as service, ThreadPoolExecutor(1) as pool:
        try:
            yield Stage(service, sampler, model, pool)
        finally:
            model.release()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as found:
        yield found


def _seen(response: httpx2.Response) -> dict[str, Any]:
    """All that must not depend on when pairs were asked."""
    body = response.json()
    return {name: body[name] for name in ("answer", "decision", "confidence", "uncertainty", "clusters", "degraded")}


def test_pairs_are_asked_before_the_last_sample_lands(stage: Stage) -> None:
    """Paris and Lyon are compared while the third sample is awaited; a second Paris then needs nothing more."""
    answer = stage.ask(3)
    stage.land("Paris", "Lyon")
    stage.wait_until_asked(("Lyon", "Paris"))
    assert not answer.done()
    stage.land("Paris")
    body = answer.result().json()
    assert stage.model.asked == [("Lyon", "Paris")], "the direction that was asked first is enough"
    assert body["nli"] == {
        "model": "held", "pairs": 1, "pairs_cached": 0, "pairs_speculative": 0, "truncated": False,
        "judgements": [{"premise": 1, "hypothesis": 0, "entailment": 0.01, "neutral": 0.01, "contradiction": 0.98}],
        "passages": [], "contradicts_context": False,
    }  # fmt: skip
    assert 0 < body["timings"]["nli_hidden_s"] <= body["timings"]["nli_s"]
    assert body["timings"]["nli_hidden_s"] <= body["timings"]["generate_s"]


def test_what_was_not_needed_is_counted_apart(stage: Stage) -> None:
    """Lyon and Lutetia are compared; then two samples say Paris, which heads Lutetia's meaning, so that was in vain."""
    answer = stage.ask(4)
    stage.land("Lyon", "Lutetia")
    stage.wait_until_asked(("Lutetia", "Lyon"))
    stage.land("Paris", "Paris")
    nli = answer.result().json()["nli"]
    assert (nli["pairs"], nli["pairs_speculative"]) == (3, 1)
    assert metric(stage.service, "demur_nli_speculative_pairs_total") == 1


@pytest.mark.parametrize(
    "texts",
    [
        ["Paris", "Lyon", "Lutetia", "Paris", "Nice"],
        ["Nice", "Lyon", "Lutetia", "Paris", "Paris"],
        ["Lutetia", "Lutetia", "Paris", "I don't know", "Lyon"],
        ["Lyon", "Nice", "Metz", "Brest", "Lille"],
    ],
)
def test_the_answer_is_the_one_without_overlap(texts: list[str]) -> None:
    """All that is said is the same, whether pairs were asked after every sample or after the last."""
    seen = {}
    for overlap in ("on", "off"):
        with staged(overlap) as stage:
            answer = stage.ask(len(texts))
            stage.land(*texts[:-1])
            if overlap == "on":
                wait_for(lambda: len(stage.model.calls) > 0, "pairs to be asked")
            stage.land(texts[-1])
            seen[overlap] = _seen(answer.result())
            assert (answer.result().json()["timings"]["nli_hidden_s"] > 0) == (overlap == "on")
    assert seen["on"] == seen["off"]


def test_overlap_off_asks_nothing_before_the_last_sample() -> None:
    """DEMUR_NLI__OVERLAP=off: samples wait for one another, as they do by default beside a local language model."""
    with staged("off") as stage:
        answer = stage.ask(3)
        stage.land("Paris", "Lyon", "Nice")
        answer.result()
        assert stage.model.calls == [[("Lyon", "Nice"), ("Lyon", "Paris"), ("Nice", "Paris")]]


def test_a_batch_under_way_is_waited_for_and_not_asked_again(stage: Stage) -> None:
    """The last sample lands while a pair is with the model: the clustering takes that verdict."""
    stage.model.hold()
    answer = stage.ask(3)
    stage.land("Paris", "Lyon")
    stage.wait_until_asked(("Lyon", "Paris"))
    stage.land("Lyon")
    wait_for(lambda: stage.sampler.n_closed == 1, "the draw to end")
    stage.model.release()
    assert answer.result().json()["nli"]["pairs"] == 1
    assert stage.model.asked == [("Lyon", "Paris")]


def test_a_departed_client_ends_what_was_asked_ahead(stage: Stage) -> None:
    """The call to the model is cancelled with the draw, and the place is given back."""
    stage.model.hold()
    with half_asked(stage.service, "q"):
        stage.land("Paris", "Lyon")
        stage.wait_until_asked(("Lyon", "Paris"))
    wait_for(lambda: stage.model.n_left == 1, "the call to be cancelled")
    wait_for(lambda: stage.sampler.n_closed == 1, "the draw to be cancelled")
    wait_for(lambda: metric(stage.service, "demur_inflight_requests") == 0, "the place to be given back")


def test_a_failure_while_samples_are_drawn_is_harmless(stage: Stage) -> None:
    """The model comes back before the last sample: it is asked again, and the answer lacks nothing."""
    stage.model.is_broken = True
    with capture_logs() as logs:
        answer = stage.ask(3)
        stage.land("Paris", "Lyon")
        wait_for(lambda: stage.model.n_failed == 1, "the model to fail")
        stage.model.is_broken = False
        stage.land("Lutetia")
        body = answer.result().json()
    assert "nli_unavailable" not in body["degraded"]
    assert [c["size"] for c in body["clusters"]] == [2, 1]
    assert not [log for log in logs if log["event"] == "nli_unavailable"]


def test_a_model_that_stays_away_is_reported_once(stage: Stage) -> None:
    """Exact match stands in, as without overlap; one line in the log."""
    stage.model.is_broken = True
    with capture_logs() as logs:
        answer = stage.ask(3)
        stage.land("Paris", "Lyon")
        wait_for(lambda: stage.model.n_failed == 1, "the model to fail")
        stage.land("paris.")
        body = answer.result().json()
    assert "nli_unavailable" in body["degraded"]
    assert [c["size"] for c in body["clusters"]] == [2, 1]
    assert (body["nli"]["pairs"], body["nli"]["pairs_speculative"]) == (0, 0)
    assert len([log for log in logs if log["event"] == "nli_unavailable"]) == 1


def test_a_model_that_hangs_leaves_time_for_an_answer(stage: Stage) -> None:
    """What was asked ahead and never answered does not outlive the deadline."""
    stage.model.hold()
    answer = stage.ask(2, timeout_s=2)
    stage.land("Paris", "Lyon")
    body = answer.result().json()
    assert {"nli_unavailable", "deadline"} <= set(body["degraded"])
    assert body["uncertainty"]["num_clusters"] == 2
    wait_for(lambda: stage.model.n_left >= 1, "the call to be cancelled")


def test_a_draw_that_fails_is_told_as_ever(stage: Stage) -> None:
    """No sample at all: 502, not an error of the task group around it."""
    answer = stage.ask(2)
    stage.land(None)
    assert answer.result().status_code == 502
