"""NLI on a text-embeddings-inference server: its limits are kept, its refusals understood, its faults survived."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import perf_counter
from typing import Any

import anyio
import pytest

from demur.entailment.remote import RemoteModel
from demur.errors import EntailmentUnavailable, Overloaded
from demur.observability.metrics import Metrics
from demur.settings import NLISettings
from demur.types import Pair, Statement
from tests.conformance.tei_server import Fault, Tei, dropping, refusing, saying, serving_tei
from tests.unit.entailment.classifiers import pair

pytestmark = pytest.mark.anyio

QUESTION = "What is the capital of France?"
PAIR = pair("Paris.", "It is Paris.", QUESTION)
MANY = [pair(f"answer {i}", "Paris", QUESTION) for i in range(100)]


@pytest.fixture
def tei() -> Iterator[Tei]:
    with serving_tei() as running:
        yield running


@asynccontextmanager
async def connected(tei: Tei, **options: Any) -> AsyncIterator[RemoteModel]:
    model = await anyio.to_thread.run_sync(lambda: RemoteModel.connect(tei.url, Metrics(), **options))
    tei.batches.clear()
    tei.pairs.clear()
    yield model
    await model.aclose()


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None
    return found


async def test_labels_are_mapped_by_name_whatever_their_order_and_case() -> None:
    """TEI sorts labels by score: a position says nothing."""
    verdicts = []
    for labels in [("contradiction", "entailment", "neutral"), ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")]:
        with serving_tei(Tei(labels=labels)) as tei:
            async with connected(tei) as model:
                verdicts += await model.label([PAIR])
    assert verdicts[0] == verdicts[1]
    assert verdicts[0].label == "entailment"


async def test_a_two_way_model_has_no_contradiction() -> None:
    with serving_tei(Tei(labels=("entailment", "not_entailment"))) as tei:
        async with connected(tei) as model:
            (verdict,) = await model.label([PAIR])
    assert verdict.contradiction == 0.0
    assert verdict.entailment + verdict.neutral == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1", "LABEL_2"), ("joy", "anger"), ("entailment", "neutral")])
def test_unknown_labels_are_refused_at_start(labels: tuple[str, ...]) -> None:
    with serving_tei(Tei(labels=labels)) as tei, pytest.raises(EntailmentUnavailable, match=r"labels are .*must name"):
        RemoteModel.connect(tei.url, Metrics())


def test_a_server_without_a_classifier_is_refused_at_start() -> None:
    with (
        serving_tei(Tei(model_type="embedding")) as tei,
        pytest.raises(EntailmentUnavailable, match="not a classifier"),
    ):
        RemoteModel.connect(tei.url, Metrics())


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(EntailmentUnavailable, match=r"cannot reach the NLI server at http://127\.0\.0\.1:9"):
        RemoteModel.connect("http://127.0.0.1:9", Metrics())


def test_a_page_is_not_taken_for_a_server() -> None:
    with serving_tei() as tei, pytest.raises(EntailmentUnavailable, match="answered 404"):
        RemoteModel.connect(f"{tei.url}/elsewhere", Metrics())


async def test_the_key_is_sent() -> None:
    with serving_tei(Tei(api_key="s3cret")) as tei:
        with pytest.raises(EntailmentUnavailable, match="401"):
            RemoteModel.connect(tei.url, Metrics())
        async with connected(tei, api_key="s3cret") as model:
            assert len(await model.label([PAIR])) == 1


@pytest.mark.parametrize(
    ("model_id", "name"),
    [("/data/words", "words"), ("/data/words/", "words"), ("org/nli-base", "org/nli-base"), ("./a/words", "words")],
)
async def test_a_folder_on_the_server_is_not_shown(model_id: str, name: str) -> None:
    with serving_tei(Tei(model_id=model_id)) as tei:
        async with connected(tei) as model:
            assert model.model == name


async def test_batches_keep_the_servers_limit(tei: Tei) -> None:
    async with connected(tei) as model:
        await model.label(MANY)
    assert sorted(tei.batches) == [4, 32, 32, 32]


async def test_batches_go_in_parallel_within_the_servers_places() -> None:
    """Every pair of a batch takes one of `max_concurrent_requests` places; without a place it is refused."""
    with serving_tei(Tei(max_client_batch_size=10, max_concurrent_requests=25, seconds=0.05)) as tei:
        async with connected(tei) as model:
            await model.label(MANY)
    assert tei.most_places == 20


@pytest.mark.parametrize("status", [413, 422])
async def test_a_batch_that_is_too_large_is_halved(status: int) -> None:
    """A proxy may allow less than the server tells; TEI says 413 up to release 1.8, and 422 since."""
    with serving_tei(Tei(max_client_batch_size=5, told_batch_size=32, too_many_status=status)) as tei:
        async with connected(tei) as model:
            verdicts = await model.label(MANY)
    assert len(verdicts) == 100
    assert sorted(tei.pairs) == sorted((f"{QUESTION} answer {i}", f"{QUESTION} Paris") for i in range(100))
    assert max(tei.batches) <= 5


async def test_a_single_pair_that_is_too_large_fails_its_call(tei: Tei) -> None:
    async with connected(tei) as model:
        tei.faults.append(refusing(413))
        with pytest.raises(EntailmentUnavailable, match="413"):
            await model.label([PAIR])


@pytest.mark.parametrize("status", [400, 401, 404, 422, 424, 500])
async def test_a_failure_fails_its_call_and_no_other(tei: Tei, status: int) -> None:
    async with connected(tei) as model:
        tei.faults.append(refusing(status, "Inference failed"))
        with pytest.raises(EntailmentUnavailable, match=f"{status}: Inference failed"):
            await model.label([PAIR])
        assert len(await model.label([PAIR])) == 1


async def test_one_failed_batch_fails_the_whole_call(tei: Tei) -> None:
    async with connected(tei) as model:
        tei.faults.append(refusing(424))
        with pytest.raises(EntailmentUnavailable):
            await model.label(MANY)


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again(tei: Tei, status: int) -> None:
    async with connected(tei) as model:
        tei.faults += [refusing(status, "Model is overloaded", "Overloaded")] * 2
        assert len(await model.label([PAIR])) == 1
    assert not tei.faults


async def test_retry_after_is_waited_for(tei: Tei) -> None:
    async with connected(tei) as model:
        tei.faults.append(refusing(429, retry_after="1"))
        started = perf_counter()
        await model.label([PAIR])
        assert 1.0 <= perf_counter() - started < 30


async def test_retry_after_may_be_a_date(tei: Tei) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=5.9), usegmt=True)
    async with connected(tei) as model:
        tei.faults.append(refusing(503, retry_after=when))
        started = perf_counter()
        await model.label([PAIR])
        assert 1.0 <= perf_counter() - started < 30


@pytest.mark.parametrize("retry_after", ["soon", "-1", ""])
async def test_a_retry_after_that_means_nothing_is_ignored(tei: Tei, retry_after: str) -> None:
    async with connected(tei) as model:
        tei.faults.append(refusing(429, retry_after=retry_after))
        assert len(await model.label([PAIR])) == 1


async def test_a_wait_beyond_the_deadline_is_not_begun(tei: Tei) -> None:
    async with connected(tei, timeout_seconds=5) as model:
        tei.faults.append(refusing(429, retry_after="3600"))
        with anyio.fail_after(1), pytest.raises(EntailmentUnavailable, match="429"):
            await model.label([PAIR])


async def test_retries_end(tei: Tei) -> None:
    async with connected(tei) as model:
        tei.faults += [refusing(429, retry_after="0")] * 10
        with pytest.raises(EntailmentUnavailable, match="429"):
            await model.label([PAIR])
        assert len(tei.faults) == 4


async def test_a_server_that_hangs_fails_the_call_and_loses_its_client(tei: Tei) -> None:
    async with connected(tei, timeout_seconds=0.3) as model:
        tei.faults.append(tei.hang)
        with pytest.raises(EntailmentUnavailable, match=r"did not answer in 0\.3 s"):
            await model.label([PAIR])
        await _until_hung_up(tei)
        assert len(await model.label([PAIR])) == 1


async def test_cancelling_closes_the_request(tei: Tei) -> None:
    async with connected(tei) as model:
        tei.faults.append(tei.hang)
        with anyio.move_on_after(0.2) as scope:
            await model.label([PAIR])
        assert scope.cancelled_caught
        await _until_hung_up(tei)
        assert len(await model.label([PAIR])) == 1


async def test_closing_fails_a_call_that_hangs(tei: Tei) -> None:
    async with connected(tei) as model, anyio.create_task_group() as tasks:
        tei.faults.append(tei.hang)

        async def ask() -> None:
            with pytest.raises(EntailmentUnavailable, match="closed"):
                await model.label([PAIR])

        tasks.start_soon(ask)
        await anyio.sleep(0.1)
        await model.aclose()
    await _until_hung_up(tei)


async def _until_hung_up(tei: Tei) -> None:
    with anyio.fail_after(5):
        while not tei.n_hung_up:  # noqa: ASYNC110 - it watches another thread, which sets no event
            await anyio.sleep(0.01)


async def test_a_server_that_went_away_fails_its_calls_soon() -> None:
    with serving_tei() as tei:
        model = await anyio.to_thread.run_sync(RemoteModel.connect, tei.url, Metrics())
    with anyio.fail_after(5), pytest.raises(EntailmentUnavailable, match="connection to the NLI server failed"):
        await model.label([PAIR])
    await model.aclose()


async def test_a_dropped_connection_is_tried_again(tei: Tei) -> None:
    async with connected(tei) as model:
        tei.faults.append(dropping)
        assert len(await model.label([PAIR])) == 1


def _row(**scores: float) -> str:
    return json.dumps([[{"label": label, "score": score} for label, score in scores.items()]])


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (saying("<html>Bad gateway</html>", "text/html"), "gave text/html"),
        (saying("{}", "application/json"), "not a TEI answer"),
        (saying("[]", "application/json"), "0 of 1"),
        (saying(_row(joy=0.5, anger=0.3, neutral=0.2), "application/json"), "labels changed"),
        (saying(_row(entailment=0.5, neutral=0.5), "application/json"), "labels changed"),
        (saying(_row(entailment=0.9, neutral=0.9, contradiction=0.9), "application/json"), "not probabilities"),
        (saying(_row(entailment=1.5, neutral=-0.5, contradiction=0.0), "application/json"), "not probabilities"),
        (saying(_row(entailment=float("nan"), neutral=0.5, contradiction=0.5), "application/json"), "not a TEI"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_no_verdict(tei: Tei, fault: Fault, complaint: str) -> None:
    async with connected(tei) as model:
        tei.faults.append(fault)
        with pytest.raises(EntailmentUnavailable, match=complaint):
            await model.label([PAIR])


async def test_calls_beyond_the_bound_are_refused_at_once(tei: Tei) -> None:
    async with connected(tei, max_inflight_pairs=100) as model, anyio.create_task_group() as tasks:
        tei.faults.append(tei.hang)
        tasks.start_soon(model.label, MANY)
        await anyio.sleep(0.1)
        with pytest.raises(Overloaded, match="100 pairs are at the NLI server, and 100 may be"):
            await model.label([PAIR])
        tasks.cancel_scope.cancel()
    assert model._n_inflight == 0


async def test_what_fits_by_bytes_is_not_tokenised(tei: Tei) -> None:
    async with connected(tei) as model:
        await model.label([PAIR, *MANY])
    assert tei.n_tokenized == 0


async def test_what_fits_by_tokens_is_sent_whole(tei: Tei) -> None:
    """270 bytes in 63 tokens: the window of 128 tokens holds them."""
    question = "the capital of france is paris " * 4
    async with connected(tei) as model:
        (verdict,) = await model.label([pair("Paris", "Lyon", question)])
    assert not verdict.is_truncated
    assert tei.pairs == [(f"{question} Paris", f"{question} Lyon")]
    assert tei.n_tokenized == 3


@pytest.mark.parametrize("filler", ["the capital of france ", "größe 日本 😀 ", "x-"])
async def test_only_the_beginning_of_a_question_is_cut(tei: Tei, filler: str) -> None:
    """What is sent fits the window with its answer whole, and wastes little of it."""
    async with connected(tei) as model:
        (verdict,) = await model.label([pair("in Paris", "Lyon", filler * 300 + QUESTION)])
    assert verdict.is_truncated
    ((premise, hypothesis),) = tei.pairs
    assert premise.endswith(f"{QUESTION} in Paris")
    assert hypothesis.endswith(f"{QUESTION} Lyon")
    assert 100 <= len(tei._counting.encode(premise, hypothesis).ids) <= 128


async def test_an_answer_is_cut_only_where_both_do_not_fit(tei: Tei) -> None:
    long = "the capital of france is paris " * 100
    async with connected(tei) as model:
        (verdict,) = await model.label([pair(long, "Lyon", QUESTION)])
    assert verdict.is_truncated
    ((premise, hypothesis),) = tei.pairs
    assert premise.startswith("the capital of france")
    assert hypothesis.endswith("Lyon")
    assert len(tei._counting.encode(premise, hypothesis).ids) <= 128


async def test_the_servers_window_is_not_wider_than_the_setting(tei: Tei) -> None:
    async with connected(tei, max_length=64) as model:
        (verdict,) = await model.label([pair("Paris", "Lyon", "the capital of france is paris " * 10)])
    assert verdict.is_truncated
    assert len(tei._counting.encode(*tei.pairs[0]).ids) <= 64


async def test_odd_texts_are_sent_as_they_are_or_legibly(tei: Tei) -> None:
    async with connected(tei) as model:
        verdicts = await model.label([Pair(Statement(""), Statement("")), Pair(Statement("\ud800"), Statement("\x00"))])
    assert len(verdicts) == 2
    assert tei.pairs == [(" ", " "), ("?", "\x00")]


async def test_the_metrics_are_those_of_the_batcher(tei: Tei) -> None:
    metrics = Metrics()
    model = await anyio.to_thread.run_sync(lambda: RemoteModel.connect(tei.url, metrics))
    await model.label(MANY)
    await model.aclose()
    assert _value(metrics, "demur_nli_pairs_total", source="model") == 100
    assert _value(metrics, "demur_nli_batch_pairs_count") == 4
    assert _value(metrics, "demur_nli_batch_pairs_sum") == 100
    assert _value(metrics, "demur_nli_batch_duration_seconds_count") == 4
    assert _value(metrics, "demur_nli_queue_duration_seconds_count") == 100
    assert _value(metrics, "demur_nli_queue_pairs") == 0


def test_the_setting_needs_an_address() -> None:
    with pytest.raises(ValueError, match="DEMUR_NLI__URL"):
        NLISettings(backend="tei")
