"""What callers see of servers that lack something, or misbehave. Real HTTP over loopback throughout."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any

import pytest

from demur.errors import (
    BackendError,
    BackendUnavailable,
    ContextLengthExceeded,
    DemurError,
    UnsupportedByBackend,
)
from demur.observability.metrics import Metrics
from demur.types import Message, Sampling
from tests.conformance.openai_server import Behaviour, Fault, openai_server
from tests.conformance.probing import Connect, probed, sampled
from tests.conformance.samplers import FRANCE, draw, draw_sorted

pytestmark = pytest.mark.anyio


# --- what a server can do --------------------------------------------------------------------------------------------


async def test_a_good_server_is_recognised(serve: Any, connect: Connect) -> None:
    """Everything is there, and raw is measured: no setting says so."""
    server = serve(Behaviour())
    found = await connect(server).probe()
    assert (found.has_n, found.has_greedy, found.has_logprobs, found.has_seed, found.varies) == (True,) * 5
    assert found.logprob_source == "raw"
    assert len(server.bodies) == 5


async def test_all_samples_come_from_one_call_where_n_is_honoured(serve: Any, connect: Connect) -> None:
    """And the greedy answer from another, at T=0 and without a seed."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server)
    assert len(await draw(sampler, FRANCE, Sampling(n=9, seed=5, max_tokens=8))) == 10
    greedy, samples = sorted(server.bodies, key=lambda body: body.get("n", 1))
    assert (greedy["temperature"], "seed" in greedy, "n" in greedy) == (0.0, False, False)
    assert (samples["n"], samples["seed"], samples["temperature"], samples["top_p"]) == (9, 5, 1.0, 1.0)


@pytest.mark.parametrize("n", ["ignored", "refused"])
async def test_calls_with_distinct_seeds_stand_in_for_n(serve: Any, connect: Connect, n: Any) -> None:
    """The answers are those of a server that honours n: child i draws with seed + i there."""
    server, good = serve(Behaviour(n=n)), serve(Behaviour())
    sampler, sampling = await probed(connect(server), server), Sampling(n=6, seed=11, max_tokens=8)
    apart = await draw_sorted(sampler, FRANCE, sampling)
    assert sorted(b["seed"] for b in server.bodies if "seed" in b) == [11, 12, 13, 14, 15, 16]
    assert apart == await draw_sorted(connect(good), FRANCE, sampling)


async def test_requests_of_a_scope_share_a_salt(serve: Any, connect: Connect) -> None:
    """One that tells nothing of the scope; other scopes have another, and requests without one none."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server)
    for scope in ("key-1", "key-1", "key-2", None):
        await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4, cache_scope=scope))
    salts = [body.get("cache_salt") for body in server.bodies]
    assert len({*salts[:4]}) == 1
    assert len({*salts[4:6]}) == 1
    assert salts[6:] == [None, None]
    assert len({salts[0], salts[4]}) == 2
    assert all(salt and len(salt) == 64 and "key" not in salt for salt in salts[:6])


async def test_a_server_that_refuses_a_salt_is_asked_without_it(serve: Any, connect: Connect) -> None:
    """As OpenAI does, which keeps its customers' caches apart itself."""
    server = serve(Behaviour(refuses=("cache_salt",)))
    sampler = connect(server)
    assert len(await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4, cache_scope="key-1"))) == 3
    assert sampler.refused_fields == {"cache_salt"}


async def test_calls_without_a_seed_get_distinct_ones(serve: Any, connect: Connect) -> None:
    """A server whose seed is fixed by default must not give the same answer n times."""
    server = serve(Behaviour(n="ignored"))
    sampler = await probed(connect(server), server)
    await draw(sampler, FRANCE, Sampling(n=6, max_tokens=8))
    assert len({b["seed"] for b in server.bodies if "seed" in b}) == 6


async def test_a_server_that_caps_n_is_asked_for_the_rest(serve: Any, connect: Connect) -> None:
    """Three of ten came: the other seven are drawn one by one, each with its own index and seed."""
    server = serve(Behaviour(n="capped"))
    sampler = await probed(connect(server), server)
    samples = await draw_sorted(sampler, FRANCE, Sampling(n=10, seed=100, max_tokens=8))
    assert [s.index for s in sampled(samples)] == list(range(10))
    assert sorted(b["seed"] for b in server.bodies if "seed" in b) == [100, *range(103, 110)]


async def test_a_server_that_stops_honouring_n_is_found_out(serve: Any, connect: Connect) -> None:
    """The probe is corrected by the first answer that contradicts it; the next question asks singly at once."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(n="ignored"))
    assert len(await draw(sampler, FRANCE, Sampling(n=5, max_tokens=8))) == 6
    server.bodies.clear()
    assert len(await draw(sampler, FRANCE, Sampling(n=5, max_tokens=8))) == 6
    assert all("n" not in body for body in server.bodies)


@pytest.mark.parametrize(("use_n", "calls"), [("yes", 2), ("no", 6)])
async def test_the_setting_overrules_the_probe(serve: Any, connect: Connect, use_n: Any, calls: int) -> None:
    """`use_n` is for those who know better."""
    server = serve(Behaviour())
    sampler = await probed(connect(server, use_n=use_n), server)
    assert len(await draw(sampler, FRANCE, Sampling(n=5, max_tokens=8))) == 6
    assert len(server.bodies) == calls


async def test_refused_fields_are_left_out(serve: Any, connect: Connect) -> None:
    """Several at once, named in a sentence; the others are still sent."""
    server = serve(Behaviour(refuses=("top_k", "min_p", "repetition_penalty", "seed", "top_logprobs")))
    sampler = await probed(connect(server), server)
    await draw(sampler, FRANCE, Sampling(n=3, seed=1, max_tokens=8))
    assert sampler.refused_fields == {"top_k", "min_p", "repetition_penalty", "seed", "top_logprobs"}
    assert all(
        b.keys() == {"model", "messages", "temperature", "top_p", "max_tokens", "logprobs"}
        for b in server.bodies
        if "n" not in b
    )


async def test_filters_of_the_server_are_switched_off(serve: Any, connect: Connect) -> None:
    """A model card's top_k would make samples and logprobs belong to different distributions."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server)
    await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))
    assert all((b["top_k"], b["min_p"], b["repetition_penalty"]) == (-1, 0.0, 1.0) for b in server.bodies)


async def test_the_newer_name_of_max_tokens_is_learnt(serve: Any, connect: Connect) -> None:
    """OpenAI's reasoning models refuse the old one, and say which they want."""
    server = serve(Behaviour(refuses=()))

    def refuse(body: dict[str, Any]) -> Any:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return (400, {"error": {"message": message, "param": "max_tokens"}}) if "max_tokens" in body else None

    server._refusal = refuse
    samples = await draw(connect(server), FRANCE, Sampling(n=3, max_tokens=1))
    assert all(s.n_completion_tokens == 1 for s in samples)


async def test_a_fixed_temperature_costs_the_greedy_answer_only(serve: Any, connect: Connect) -> None:
    """No answer is called greedy that was sampled; another temperature is refused rather than pretended."""
    server = serve(Behaviour(fixed_temperature=True))
    sampler = connect(server)
    samples = await draw(sampler, FRANCE, Sampling(n=4, max_tokens=8))
    assert [s.is_greedy for s in samples] == [False] * 4
    with pytest.raises(UnsupportedByBackend, match=r"refuses sampling\.temperature"):
        await draw(sampler, FRANCE, Sampling(n=4, temperature=0.7, max_tokens=8))


async def test_plain_completions_are_used_where_there_is_no_chat(serve: Any, connect: Connect) -> None:
    """Once found out, chat is not tried again."""
    server = serve(Behaviour(chat=False))
    sampler = await probed(connect(server), server)
    samples = await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))
    assert set(server.paths) == {"/v1/completions"}
    assert all(s.token_logprobs and s.logprob_source == "raw" for s in samples)


async def test_a_wrong_path_is_explained(serve: Any, connect: Connect) -> None:
    """The commonest mistake: a base URL without /v1."""
    server = serve(Behaviour(chat=False))
    with pytest.raises(BackendError, match=r"BASE_URLS end in the server's /v1 path\?"):
        await connect(server, api="chat").probe()


# --- logprobs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logprobs", ["omitted", "refused"])
async def test_missing_logprobs_are_none(serve: Any, connect: Connect, logprobs: Any) -> None:
    """Texts and counts are there all the same."""
    server = serve(Behaviour(logprobs=logprobs))
    sampler = connect(server)
    samples = await draw(sampler, FRANCE, Sampling(n=4, max_tokens=8))
    assert len(samples) == 5
    assert all(s.token_logprobs is None and s.tokens is None and s.logprob_source == "unknown" for s in samples)
    assert all(s.text and s.n_completion_tokens for s in samples)
    assert sampler.capabilities is not None
    assert sampler.capabilities.has_logprobs is False


@pytest.mark.parametrize("wrong", [-9999.0, 0.5, math.nan, -math.inf, None], ids=str)
async def test_one_impossible_logprob_voids_those_of_the_sample(serve: Any, connect: Connect, wrong: Any) -> None:
    """A sum with a hole would be a wrong number."""
    server = serve(Behaviour(wrong_logprob=wrong))
    samples = await draw(connect(server), FRANCE, Sampling(n=4, max_tokens=8))
    assert len(samples) == 5
    assert all(s.token_logprobs is None for s in samples if s.n_completion_tokens != 1)


async def test_processed_logprobs_are_recognised(serve: Any, connect: Connect) -> None:
    """They change with the temperature; at T=0 they would say that every token was certain, so there are none."""
    server = serve(Behaviour(logprobs="processed"))
    samples = await draw(connect(server), FRANCE, Sampling(n=4, max_tokens=8))
    assert {s.logprob_source for s in sampled(samples)} == {"processed"}
    assert next(s for s in samples if s.is_greedy).token_logprobs is None


@pytest.mark.parametrize(("setting", "source"), [("raw", "raw"), ("off", "unknown")])
async def test_what_logprobs_are_can_be_set(serve: Any, connect: Connect, setting: Any, source: str) -> None:
    """`off` does not even ask for them."""
    server = serve(Behaviour(refuses=("top_logprobs",)))
    sampler = await probed(connect(server, logprobs=setting), server)
    samples = await draw(sampler, FRANCE, Sampling(n=4, max_tokens=8))
    assert {s.logprob_source for s in samples} == {source}
    assert all(("logprobs" in body) is (setting == "raw") for body in server.bodies)


@pytest.mark.parametrize("thinks", ["in_content", "apart"])
async def test_thinking_is_no_part_of_the_answer(serve: Any, connect: Connect, thinks: Any) -> None:
    """Neither of the text nor of the scores; its tokens are counted as spent."""
    server, plain = serve(Behaviour(thinks=thinks)), serve(Behaviour())
    sampling = Sampling(n=5, seed=3, max_tokens=8)
    samples = await draw_sorted(connect(server), FRANCE, sampling)
    expected = await draw_sorted(connect(plain), FRANCE, sampling)
    assert [(s.text, s.tokens, s.token_logprobs) for s in samples] == [
        (s.text, s.tokens, s.token_logprobs) for s in expected
    ]
    assert [s.n_completion_tokens for s in samples] == [(s.n_completion_tokens or 0) + 5 for s in expected]


# --- servers that fail -----------------------------------------------------------------------------------------------

FAILURES: dict[Fault, tuple[type[DemurError], str]] = {
    "hang": (BackendError, r"did not answer within 0\.5 s \(DEMUR_SAMPLER__TIMEOUT_S\)"),
    "drop": (BackendError, "connection .* broke"),
    "html": (BackendError, "no completion that can be read"),
    "half_json": (BackendError, "no completion that can be read"),
    "half_utf8": (BackendError, "no completion that can be read"),
    "no_choices": (BackendError, "no completion that can be read"),
    "filtered": (BackendError, "withheld the answer"),
    "error": (BackendError, r"failed \(500\)"),
    "busy": (BackendUnavailable, r"is busy \(429\)"),
    "forbidden": (BackendError, "DEMUR_SAMPLER__API_KEY"),
}


@pytest.mark.parametrize("fault", FAILURES)
async def test_each_failure_says_what_happened(serve: Any, connect: Connect, fault: Fault) -> None:
    """When no draw succeeds, and after the retries."""
    server = serve(Behaviour())
    sampler = await probed(connect(server, n_retries=0, timeout_seconds=0.5), server, Behaviour(fault=fault))
    kind, message = FAILURES[fault]
    with pytest.raises(kind, match=message) as caught:
        await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))
    assert type(caught.value) is kind
    assert "sk-12" not in str(caught.value)


@pytest.mark.parametrize("fault", [f for f in FAILURES if f not in ("busy", "error", "drop")])
async def test_a_failed_draw_is_dropped_and_the_others_arrive(serve: Any, connect: Connect, fault: Fault) -> None:
    """Two of five calls meet the fault."""
    server = serve(Behaviour(n="ignored"))
    sampler = await probed(connect(server, n_retries=0, timeout_seconds=1.0), server)
    server.behaviour = Behaviour(n="ignored", fault=fault, n_faults=2)
    samples = await draw(sampler, FRANCE, Sampling(n=4, max_tokens=8))
    assert len(samples) == 3


@pytest.mark.parametrize("fault", ["drop", "error", "busy"])
async def test_a_passing_failure_is_repeated(serve: Any, connect: Connect, metrics: Metrics, fault: Fault) -> None:
    """And the repeats are counted."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(fault=fault, n_faults=2))
    assert len(await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))) == 4
    backend = server.url.split("/")[2]
    assert metrics.backend_retries.labels(backend)._value.get() == 2
    assert metrics.backend_requests.labels(backend, "ok")._value.get() == 7  # five of the probe
    assert metrics.backend_inflight.labels(backend)._value.get() == 0


async def test_retry_after_is_waited_for(serve: Any, connect: Connect) -> None:
    """Longer than the client would wait by itself (about half a second)."""
    server = serve(Behaviour())
    sampler = await probed(connect(server), server, Behaviour(fault="busy", n_faults=2, retry_after="1.5"))
    begun = perf_counter()
    assert len(await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))) == 4
    assert perf_counter() - begun >= 1.5


@pytest.mark.parametrize("retry_after", ["90", "Wed, 21 Oct 2099 07:28:00 GMT"])
async def test_a_busy_server_is_not_waited_for_beyond_the_timeout(
    serve: Any, connect: Connect, retry_after: str
) -> None:
    """The caller is told at once, with the server's own number."""
    server = serve(Behaviour())
    sampler = await probed(connect(server, timeout_seconds=5), server, Behaviour(fault="busy", retry_after=retry_after))
    begun = perf_counter()
    with pytest.raises(BackendUnavailable) as caught:
        await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))
    assert perf_counter() - begun < 20
    assert (caught.value.retry_after_seconds or 0) >= 90


async def test_a_prompt_that_is_too_long_is_the_callers_error(serve: Any, connect: Connect) -> None:
    """With the server's numbers; the fields it mentions are not taken for unsupported."""
    sampler = connect(serve(Behaviour()))
    with pytest.raises(
        ContextLengthExceeded, match=r"the prompt is 5004 tokens and max_tokens asks for 256 more.*4096"
    ):
        await draw(sampler, [Message("user", "word " * 5000)], Sampling(n=2))
    assert sampler.refused_fields == frozenset()


async def test_a_server_that_is_not_there_is_unavailable(serve: Any, connect: Connect) -> None:
    """Probed again by the next question, once it is there."""
    server = serve(Behaviour(fault="busy"))
    sampler = connect(server, n_retries=0)
    with pytest.raises(BackendUnavailable):
        await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4))
    server.behaviour = Behaviour()
    assert len(await draw(sampler, FRANCE, Sampling(n=2, max_tokens=4))) == 3


# --- several servers -------------------------------------------------------------------------------------------------


async def test_calls_go_to_the_server_with_the_least_in_flight(serve: Any, connect: Connect) -> None:
    """Eight calls, two servers: four each."""
    one, two = serve(Behaviour(n="ignored")), serve(Behaviour(n="ignored"))
    sampler = await probed(connect(one, two), one)
    two.bodies.clear()
    assert len(await draw(sampler, FRANCE, Sampling(n=7, max_tokens=8))) == 8
    assert (len(one.bodies), len(two.bodies)) == (4, 4)


async def test_another_server_stands_in_for_a_dead_one(connect: Connect, metrics: Metrics) -> None:
    """No draw is lost, none waits, and the dead one is left alone for a while."""
    with openai_server(Behaviour(n="ignored")) as alive:
        with openai_server(Behaviour(n="ignored")) as dead:
            sampler = await probed(connect(dead, alive), dead)
        begun = perf_counter()
        assert len(await draw(sampler, FRANCE, Sampling(n=7, max_tokens=8))) == 8
        assert perf_counter() - begun < 20
        name = dead.url.split("/")[2]
        assert metrics.backend_circuit_open.labels(name)._value.get() == 1
        tried = metrics.backend_requests.labels(name, "unreachable")._value.get()
        assert len(await draw(sampler, FRANCE, Sampling(n=7, max_tokens=8))) == 8
        assert metrics.backend_requests.labels(name, "unreachable")._value.get() == tried >= 1


@pytest.mark.parametrize("fault", ["error", "busy", "drop"])
async def test_another_server_stands_in_for_a_failing_one(serve: Any, connect: Connect, fault: Fault) -> None:
    """At once, without the pause of a retry."""
    good, bad = serve(Behaviour(n="ignored")), serve(Behaviour(n="ignored"))
    sampler = await probed(connect(bad, good), bad, Behaviour(fault=fault, retry_after="30"))
    begun = perf_counter()
    assert len(await draw(sampler, FRANCE, Sampling(n=5, max_tokens=8))) == 6
    assert perf_counter() - begun < 20


async def test_all_servers_dead_is_unavailable(connect: Connect) -> None:
    """Unreachable, and said so."""
    with openai_server() as one, openai_server() as two:
        sampler = await probed(connect(one, two, n_retries=0), one)
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        await draw(sampler, FRANCE, Sampling(n=3, max_tokens=8))
