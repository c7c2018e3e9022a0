"""What an answer cache promises, over memory of the process and over a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import anyio
import pytest

from demur.errors import BackendError, CacheMiss, DeadlineExceeded
from demur.types import Answer, CacheMode, CachePolicy, CacheStatus, Degradation, Question
from tests.conformance.redis_server import RedisServer, redis_server
from tests.conformance.replicas import Replica, replicas
from tests.conformance.waiting import until
from tests.unit.caching.answers import Oracle, question, ready

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture(params=["local", "redis"])
def url(request: pytest.FixtureRequest) -> str | None:
    if request.param == "local":
        return None
    running: RedisServer = request.getfixturevalue("server")
    running.client.flushall()
    return running.url


@pytest.fixture
async def replica(url: str | None, anyio_backend: str) -> AsyncIterator[Replica]:
    async with replicas(1, url) as [one]:
        yield one


async def _ask(replica: Replica, asked: Question, oracle: Oracle) -> tuple[str, CacheStatus]:
    answer, use = await replica.cache.answer(asked, oracle)
    return answer.id, use.status


def _mode(mode: CacheMode, text: str = "Capital of France?", ttl: int | None = None) -> Question:
    return question(text, cache=CachePolicy(mode, ttl))


async def test_an_answer_is_remembered(replica: Replica) -> None:
    """Drawn once, then the same to the last bit, but for the times of this request and the question of this caller."""
    oracle = ready()
    first, miss = await replica.cache.answer(question(), oracle)
    second, hit = await replica.cache.answer(question(on_abstain="omit", metadata={"a": "b"}), oracle)
    assert (miss.status, hit.status, len(oracle.asked)) == ("miss", "hit", 1)
    assert (miss.ttl_seconds, hit.ttl_seconds, miss.age_seconds) == (3600, 3600, 0)
    assert hit.age_seconds >= 0
    assert (second.question.on_abstain, second.question.metadata) == ("omit", {"a": "b"})
    assert replace(second, question=first.question, work=first.work) == first
    assert (second.work.generate_seconds, second.work.n_completion_tokens, second.work.n_pairs) == (0, 7, 3)
    assert (replica.looked_up("miss"), replica.looked_up("hit"), replica.flights("led")) == (1, 1, 1)


async def test_other_questions_and_other_tenants_are_drawn_themselves(replica: Replica) -> None:
    oracle = ready()
    for asked in (question(), question("Capital of Peru?"), question(tenant="a"), question(tenant="b")):
        assert (await _ask(replica, asked, oracle))[1] == "miss"
    assert len(oracle.asked) == 4


async def test_other_models_are_asked_themselves(url: str | None) -> None:
    oracle = ready()
    for fingerprint in ("models", "others"):
        async with replicas(1, url, fingerprint=fingerprint) as [one]:
            assert (await _ask(one, question(), oracle))[1] == "miss"


AS_WHOLE = (Degradation.UNCALIBRATED, Degradation.SAMPLING_SKIPPED)  # nothing that another draw would mend


@pytest.mark.parametrize("reason", AS_WHOLE)
async def test_what_another_draw_would_not_mend_is_remembered(replica: Replica, reason: Degradation) -> None:
    oracle = ready(lambda made: replace(made, degraded=(reason,)))
    assert [await _ask(replica, question(), oracle) for _ in range(2)] == [("ans_1", "miss"), ("ans_1", "hit")]


@pytest.mark.parametrize("reason", [d for d in Degradation if d not in AS_WHOLE])
async def test_nothing_degraded_or_partial_is_remembered(replica: Replica, reason: Degradation) -> None:
    """It is drawn again, and may be whole then: that one is remembered."""
    weak = ready(lambda made: replace(made, degraded=(*made.degraded, reason)))
    answer, use = await replica.cache.answer(question(), weak)
    assert (use.status, use.ttl_seconds, reason in answer.degraded) == ("miss", 0, True)
    whole = ready()
    assert await _ask(replica, question(), whole) == ("ans_1", "miss")
    assert await _ask(replica, question(), whole) == ("ans_1", "hit")


async def test_a_failure_is_not_remembered(replica: Replica) -> None:
    def refuse(_: Answer) -> Answer:
        raise BackendError("broken")

    with pytest.raises(BackendError, match="broken"):
        await replica.cache.answer(question(), ready(refuse))
    assert await _ask(replica, question(), ready()) == ("ans_1", "miss")


async def test_bypass_neither_reads_nor_writes_nor_shares(replica: Replica) -> None:
    oracle = ready()
    await _ask(replica, question(), oracle)
    assert await _ask(replica, _mode("bypass"), oracle) == ("ans_2", "bypass")
    assert await _ask(replica, question(), oracle) == ("ans_1", "hit")
    assert replica.looked_up("bypass") == 1


async def test_refresh_takes_the_place_of_what_was(replica: Replica) -> None:
    oracle = ready()
    await _ask(replica, question(), oracle)
    assert await _ask(replica, _mode("refresh"), oracle) == ("ans_2", "refresh")
    assert await _ask(replica, question(), oracle) == ("ans_2", "hit")


async def test_only_never_draws(replica: Replica) -> None:
    """CacheMiss, also while somebody draws; a hit once it is there."""
    oracle = Oracle()
    with pytest.raises(CacheMiss):
        await replica.cache.answer(_mode("only"), oracle)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_ask, replica, question(), oracle)
        await until(lambda: len(oracle.asked) == 1)
        with pytest.raises(CacheMiss):
            await replica.cache.answer(_mode("only"), oracle)
        oracle.gate.set()
    assert await _ask(replica, _mode("only"), oracle) == ("ans_1", "hit")
    assert len(oracle.asked) == 1


async def test_the_caller_may_shorten_the_time_to_live_but_not_prolong_it(replica: Replica) -> None:
    """0: not remembered at all."""
    used = []
    for i, ttl in enumerate((60, 86_400, 0)):
        _, use = await replica.cache.answer(_mode("default", f"question {i}", ttl), ready())
        used.append(use.ttl_seconds)
    assert used == [60, 3600, 0]
    assert (await _ask(replica, question("question 1"), ready()))[1] == "hit"
    assert (await _ask(replica, question("question 2"), ready()))[1] == "miss"


async def test_an_answer_expires(url: str | None) -> None:
    """After a second it is drawn again."""
    async with replicas(1, url, cache_ttl_s=1) as [one]:
        oracle = ready()
        await _ask(one, question(), oracle)
        with anyio.fail_after(30):
            while (await _ask(one, question(), oracle))[1] == "hit":  # noqa: ASYNC110 - Redis sets no event here
                await anyio.sleep(0.05)
        assert len(oracle.asked) == 2


async def test_a_time_to_live_of_zero_switches_everything_off(url: str | None) -> None:
    """Nothing is remembered nor shared; `only` finds nothing."""
    async with replicas(1, url, cache_ttl_s=0) as [one]:
        oracle = Oracle()
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(_ask, one, question(), oracle)
            await anyio.wait_all_tasks_blocked()
            assert len(oracle.asked) == 3
            oracle.gate.set()
        assert await _ask(one, question(), oracle) == ("ans_4", "bypass")
        with pytest.raises(CacheMiss):
            await one.cache.answer(_mode("only"), oracle)


async def test_an_answer_can_be_forgotten(replica: Replica) -> None:
    """By its id, and by its tenant alone; once."""
    oracle = ready()
    answer_id, _ = await _ask(replica, question(tenant="a"), oracle)
    assert not await replica.cache.forget(answer_id, "b")
    assert not await replica.cache.forget("ans_never", "a")
    assert await _ask(replica, question(tenant="a"), oracle) == ("ans_1", "hit")
    assert await replica.cache.forget(answer_id, "a")
    assert not await replica.cache.forget(answer_id, "a")
    assert await _ask(replica, question(tenant="a"), oracle) == ("ans_2", "miss")


async def test_who_asks_meanwhile_shares(replica: Replica) -> None:
    """Five ask at once: one run, one id, each with its own question; a degraded answer is shared all the same."""
    oracle = Oracle(lambda made: replace(made, degraded=(Degradation.NO_LOGPROBS,)))
    got: list[tuple[str, CacheStatus, str]] = []

    async def ask(on_abstain: str) -> None:
        answer, use = await replica.cache.answer(question(on_abstain=on_abstain), oracle)
        got.append((answer.id, use.status, answer.question.on_abstain))

    async with anyio.create_task_group() as tasks:
        for on_abstain in ("annotate", "omit", "omit", "replace", "omit"):
            tasks.start_soon(ask, on_abstain)
        await until(lambda: replica.looked_up("miss") == 5)
        oracle.gate.set()
    assert sorted(status for _, status, _ in got) == ["miss", *["shared"] * 4]
    assert {answer_id for answer_id, _, _ in got} == {"ans_1"}
    assert sorted(shown for _, _, shown in got) == ["annotate", "omit", "omit", "omit", "replace"]
    assert (replica.flights("led"), len(oracle.asked)) == (1, 1)
    assert sum(map(replica.flights, ("joined", "shared", "remembered"))) == 4  # whoever is late finds it handed over


async def test_who_has_more_time_does_not_settle_for_a_cut_answer(replica: Replica) -> None:
    """One with a second begins, one with a minute joins; the run ends short of time: the second one asks again."""
    n_cut = 0

    def cut(made: Answer) -> Answer:
        nonlocal n_cut
        if made.question.timeout_seconds > 1:
            return made
        n_cut += 1
        raise DeadlineExceeded("too late")

    oracle, got = Oracle(cut), []

    async def ask(seconds: float) -> None:
        try:
            answer, use = await replica.cache.answer(question(timeout_seconds=seconds), oracle)
            got.append((answer.id, use.status))
        except DeadlineExceeded:
            got.append(("too late", "miss"))

    async with anyio.create_task_group() as tasks:
        for seconds in (1.0, 60.0):
            tasks.start_soon(ask, seconds)
            await until(lambda: len(oracle.asked) > 0)
        await anyio.sleep(0.3)
        oracle.gate.set()
    assert sorted(got) == [("ans_2", "miss"), ("too late", "miss")]
    assert n_cut == 1
    assert oracle.asked[1].timeout_seconds < 60
