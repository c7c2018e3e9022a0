"""The OpenAI door over a real server and scripted answers, through the official client: sync, async, streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.settings import AuthSettings, Settings
from demur.types import Sample, Sampling
from tests.service.running import Service, connection, metric, serving, wait_for

MODEL = "scripted"
SCRIPT = {
    "sure": ["Paris", "Paris"],
    "8 of 10": ["Paris", *["Paris"] * 8, "Lyon", "Lyon"],
    "greedy is alone": ["Nice", "Paris"],
    "split": ["It is Paris", *["It is Paris", "Lyon"] * 5],
    "no idea": ["I don't know."],
    "with logprobs": [ScriptedAnswer("It is Paris", (-0.5, -0.1, -0.2))],
    "slow": ["It is Paris", ScriptedAnswer("Paris", delay_seconds=60)],
    "fails": [ScriptedAnswer(error="no answer today")],
    "long": [" ".join(["word"] * 2_000)],
}


def answers(question: str, sampling: Sampling) -> list[Any]:
    return SCRIPT.get(question.split("\n")[-1].removeprefix("Question: "), ["Lima"])


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(answers) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as connected:
        yield connected


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def ask(client: OpenAI, question: str = "sure", **fields: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": user(question), **fields})


def options(**fields: Any) -> dict[str, Any]:
    return {"extra_body": {"uncertainty": fields}}


# --- one reply -------------------------------------------------------------------------------------------------------


def test_a_completion_has_its_verdict(client: OpenAI) -> None:
    """An ordinary completion; beside it what `/v1/answer` says, less what a completion says itself."""
    found = ask(client, "8 of 10")
    assert (found.object, found.model, found.id[:4]) == ("chat.completion", MODEL, "ans_")
    choice = found.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Paris", "stop")
    verdict = found.uncertainty
    assert verdict["id"] == found.id
    assert verdict["uncertainty"]["semantic_entropy"] == pytest.approx(0.5004024235, abs=1e-9)
    assert (verdict["decision"], verdict["ignored"], verdict["stored"]) == ("answer", [], True)
    assert not verdict.keys() & {"answer", "model", "usage"}


def test_the_verdict_is_in_headers_too(client: OpenAI) -> None:
    """For those whose client drops what it does not know."""
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("8 of 10"))
    assert raw.headers["X-Demur-Decision"] == "answer"
    assert raw.headers["X-Demur-Confidence"] == "0.8000"
    assert raw.headers["X-Demur-Answer-Id"] == raw.parse().id


def test_both_doors_share_what_is_remembered() -> None:
    """The same question with the same numbers is drawn once: here first, there from the cache."""
    with serving({"with logprobs": SCRIPT["with logprobs"]}) as service:
        with OpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
            first = ask(client, "with logprobs", max_tokens=100)
        again = service.ask("with logprobs", sampling={"max_tokens": 100})
    assert (again.headers["X-Demur-Cache"], again.json()["id"]) == ("hit", first.id)


def test_usage_counts_all_that_was_drawn(client: OpenAI) -> None:
    """Ten samples and the T=0 answer, of one word each."""
    usage = ask(client, "sure").usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1, 11, 12)
    assert usage.uncertainty_samples == 10


@pytest.mark.parametrize(
    ("model", "body", "header", "n"),
    [
        (f"{MODEL}@thorough", {}, None, 20),
        (f"{MODEL}@fast", {}, "thorough", 5),
        (MODEL, {}, "thorough", 20),
        (f"{MODEL}@thorough", {"quality": "fast"}, "balanced", 5),
        (f"{MODEL}@thorough", {"n": 7}, None, 7),
        ("@fast", {}, None, 5),
    ],
)
def test_how_many_samples_is_said_in_three_places(
    client: OpenAI, model: str, body: dict[str, Any], header: str | None, n: int
) -> None:
    """The body goes before the model's name, and that before the header."""
    headers = {"X-Demur-Quality": header} if header else {}
    found = ask(client, model=model, extra_headers=headers, **options(**body))
    assert (found.uncertainty["sampling"]["completed"], found.model) == (n, MODEL)


def test_usage_is_null_where_nobody_counts() -> None:
    """Rather than 0."""
    sampler = Uncounted({"sure": ["Paris"]})
    with serving({}, sampler=sampler) as service, OpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        assert ask(client, model="uncounted").usage is None
        last = stream(client, "sure", model="uncounted", stream_options={"include_usage": True})[-1]
        assert (last.usage, last.uncertainty["decision"]) == (None, "answer")


class Uncounted(ScriptedSampler):
    """As before servers that send no usage."""

    def __init__(self, script: Any) -> None:
        super().__init__(script, model="uncounted")

    async def sample(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Sample, None]:
        async for sample in super().sample(*args, **kwargs):
            yield replace(sample, n_prompt_tokens=None, n_completion_tokens=None)


def test_n_choices_are_members_of_the_heaviest_meanings(client: OpenAI) -> None:
    """The answer first; `n` is what is shown, not how many are drawn."""
    found = ask(client, "8 of 10", n=10)
    assert [choice.index for choice in found.choices] == list(range(10))
    assert [choice.message.content for choice in found.choices] == ["Paris"] * 9 + ["Lyon"]
    assert found.uncertainty["sampling"]["requested"] == 10
    assert ask(client, "8 of 10", n=20).uncertainty["sampling"]["requested"] == 20


def test_temperature_is_not_what_is_measured_at(client: OpenAI) -> None:
    """0 asks for the T=0 answer; any other changes nothing, and that is said."""
    assert ask(client, "greedy is alone").choices[0].message.content == "Paris"
    cold = ask(client, "greedy is alone", temperature=0)
    assert (cold.choices[0].message.content, cold.uncertainty["ignored"]) == ("Nice", [])
    warm = ask(client, "greedy is alone", temperature=0.7, top_p=0.9)
    assert (warm.choices[0].message.content, warm.uncertainty["ignored"]) == ("Paris", ["temperature", "top_p"])


def test_anything_is_accepted(client: OpenAI) -> None:
    """Fields of other servers, nulls, and values that ask for nothing; what would have changed something is named."""
    found = ask(
        client,
        frequency_penalty=0,
        presence_penalty=0.5,
        logit_bias={},
        response_format={"type": "text"},
        seed=-1,
        stop=None,
        max_tokens=100_000,
        user="u" * 500,
        store=True,
        service_tier="auto",
        parallel_tool_calls=False,
        metadata={"trace": "1"},
        extra_body={"tools": None, "functions": [], "min_p": 0.1, "chat_template_kwargs": {"a": [1]}, "logprobs": None},
    )
    assert found.uncertainty["ignored"] == ["presence_penalty", "min_p", "chat_template_kwargs"]
    assert found.uncertainty["metadata"] == {"trace": "1"}


def test_text_may_come_in_parts(client: OpenAI) -> None:
    """And beside a system message, and after an assistant's turn."""
    parts = [{"type": "text", "text": "Which?"}, {"type": "text", "text": "8 of 10"}]
    before = [{"role": "system", "content": "Be brief."}, {"role": "assistant", "content": None}]
    assert ask(client, messages=[*before, *user(parts)]).uncertainty["uncertainty"]["agreement"] == 0.8


def test_logprobs_come_only_where_they_were_asked_for(client: OpenAI) -> None:
    assert ask(client, "with logprobs").choices[0].logprobs is None
    rows = ask(client, "with logprobs", logprobs=True).choices[0].logprobs.content
    assert [(row.token, row.logprob) for row in rows] == [("It", -0.5), (" is", -0.1), (" Paris", -0.2)]
    assert ask(client, "sure", logprobs=True).choices[0].logprobs is None


def test_what_the_caller_wants_of_an_abstention(client: OpenAI) -> None:
    """The text is kept by default; `refusal` is left to the model's own scruples."""
    last = {"retrieval": {"available": False}}
    kept = ask(client, "split", **options(**last))
    assert (kept.uncertainty["decision"], kept.choices[0].message.content) == ("abstain", "It is Paris")
    replaced = ask(client, "split", **options(on_abstain="replace", **last))
    assert (replaced.choices[0].message.content, replaced.choices[0].message.refusal) == ("I don't know.", None)
    by_header = ask(client, "split", extra_headers={"X-Demur-On-Abstain": "omit"}, **options(**last))
    assert by_header.choices[0].message.content is None


def test_passages_are_read_and_weighed(client: OpenAI) -> None:
    found = ask(client, "sure", **options(context=[{"text": "Paris"}], retrieval={"attempt": 1}))
    assert found.uncertainty["groundedness"] is not None


def test_a_label_finds_the_answer(service: Service, client: OpenAI) -> None:
    """The completion's own id is the one that feedback names."""
    labelled = {"answer_id": ask(client, "8 of 10").id, "label": "correct"}
    assert service.client.post("/v1/feedback", json=labelled).status_code == 202


def test_the_models_are_listed(client: OpenAI) -> None:
    """The served one, and what it is called with each number of samples; each of them is answered."""
    listed = [model.id for model in client.models.list()]
    assert listed == [MODEL, f"{MODEL}@fast", f"{MODEL}@balanced", f"{MODEL}@thorough"]
    assert all(ask(client, model=name).choices for name in listed)


# --- streams ---------------------------------------------------------------------------------------------------------


def stream(client: OpenAI, question: str, **fields: Any) -> list[Any]:
    return list(ask(client, question, stream=True, **fields))


def content(chunks: list[Any], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def test_a_stream_ends_with_its_verdict(client: OpenAI) -> None:
    """One id, a role, pieces that spell the answer, its end. Whoever takes every chunk's first choice finds one."""
    chunks = stream(client, "split")
    assert {chunk.id for chunk in chunks} == {chunks[-1].uncertainty["id"]}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert (content(chunks), len(chunks)) == ("It is Paris", 5)
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["stop"]
    assert chunks[-1].uncertainty["uncertainty"]["num_clusters"] == 2


def test_usage_comes_last_where_it_was_asked_for(client: OpenAI) -> None:
    """In a chunk without choices, as OpenAI does it; the verdict is in that one then."""
    *others, last = stream(client, "split", stream_options={"include_usage": True})
    assert (last.choices, last.usage.uncertainty_samples) == ([], 10)
    assert last.uncertainty["decision"] == "retrieve"
    assert not any(chunk.usage or getattr(chunk, "uncertainty", None) for chunk in others)
    assert others[-1].choices[0].finish_reason == "stop"


def test_the_answer_is_streamed_before_the_samples_are_there(service: Service, client: OpenAI) -> None:
    """Its pieces come while samples that take a minute are drawn; leaving ends the drawing."""
    with ask(client, "slow", stream=True) as chunks:
        heard = ""
        for chunk in chunks:
            heard += chunk.choices[0].delta.content or ""
            if heard == "It is Paris":
                break
        assert service.sampler.n_running == 10
    wait_for(lambda: service.sampler.n_running == 0, "the samples to be cancelled")


def test_what_is_streamed_is_what_was_judged(client: OpenAI) -> None:
    """The T=0 answer, although the samples agree on another: the verdict says so."""
    chunks = stream(client, "greedy is alone")
    assert content(chunks) == "Nice"
    assert chunks[-1].uncertainty["uncertainty"]["agreement"] == 0


@pytest.mark.parametrize(
    ("question", "fields", "expected"),
    [
        ("greedy is alone", {"buffer": True}, "Paris"),
        ("with logprobs", {"strict": True, "n": 2, "policy": {"answer_min": 0.5}}, "It is Paris"),
        ("greedy is alone", {"answer_strategy": "mode"}, "Paris"),
        ("split", {"on_abstain": "replace", "retrieval": {"available": False}}, "I don't know."),
    ],
)
def test_what_depends_on_the_verdict_waits_for_it(
    client: OpenAI, question: str, fields: dict[str, Any], expected: str
) -> None:
    """The chosen answer is streamed then, with the verdict in the headers."""
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=user(question), stream=True, **options(**fields)
    )
    chunks = list(raw.parse())
    assert content(chunks) == expected
    assert raw.headers["X-Demur-Decision"] == chunks[-1].uncertainty["decision"]


def test_several_choices_are_streamed_one_after_another(client: OpenAI) -> None:
    chunks = stream(client, "8 of 10", n=10)
    assert [content(chunks, index) for index in range(10)] == ["Paris"] * 9 + ["Lyon"]
    ended = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert ended == list(range(10))


def test_a_remembered_answer_is_streamed_too(client: OpenAI) -> None:
    """Word by word, with the id it had."""
    first, again = (stream(client, "with logprobs", logprobs=True) for _ in range(2))
    assert content(again) == content(first) == "It is Paris"
    assert (again[-1].uncertainty["cache"]["status"], again[0].id) == ("hit", first[0].id)
    assert len(first[-1].choices[0].logprobs.content) == 3


def test_a_stream_on_the_wire(service: Service) -> None:
    """Events without names, and the end that clients wait for."""
    body = {"model": MODEL, "messages": user("sure"), "stream": True}
    reply = service.client.post("/v1/chat/completions", json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *events, end = reply.text.strip().split("\n\n")
    assert end == "data: [DONE]"
    assert all(json.loads(event.removeprefix("data: "))["choices"] for event in events)


def test_what_fails_before_the_first_word_has_a_status(client: OpenAI) -> None:
    """As without `stream`."""
    for is_stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="no answer today") as raised:
            ask(client, "fails", stream=is_stream)
        assert (raised.value.status_code, raised.value.code) == (502, "backend-error")


def test_what_fails_later_is_told_in_the_stream(client: OpenAI) -> None:
    """Ten samples that need a minute, in half a second: the pieces were right, and then there is an error."""
    with ask(client, "slow", stream=True, **options(timeout_s=0.5, on_deadline="error")) as chunks:
        heard = next(chunks).choices[0].delta.content
        with pytest.raises(openai.APIError, match="within") as raised:
            heard += "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert raised.value.body["code"] == "deadline-exceeded"  # type: ignore[index]


# --- async -----------------------------------------------------------------------------------------------------------


def test_the_async_client(service: Service) -> None:
    """Many at once, streamed and not."""

    async def run() -> list[Any]:
        async with AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:

            async def streamed(question: str) -> str:
                chunks = await client.chat.completions.create(model=MODEL, messages=user(question), stream=True)
                return content([chunk async for chunk in chunks])

            async def whole(question: str) -> str | None:
                found = await client.chat.completions.create(model=MODEL, messages=user(question))
                return found.choices[0].message.content

            return await asyncio.gather(*(f(q) for f in (streamed, whole) for q in ("split", "sure", "other") * 5))

    assert asyncio.run(run()) == ["It is Paris", "Paris", "Lima"] * 10


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"model": "gpt-4o"}, openai.NotFoundError, "model-not-found", None),
        ({"model": f"{MODEL}@slow"}, openai.NotFoundError, "model-not-found", None),
        ({"messages": []}, openai.BadRequestError, "validation-failed", "messages"),
        ({"messages": "hello"}, openai.BadRequestError, "validation-failed", "messages"),
        ({"messages": ["hello"]}, openai.BadRequestError, "validation-failed", "messages[0]"),
        ({"temperature": 3}, openai.BadRequestError, "validation-failed", "temperature"),
        ({"n": 0}, openai.BadRequestError, "validation-failed", "n"),
        (options(qualty="fast"), openai.BadRequestError, "validation-failed", "uncertainty.qualty"),
        (options(n=1000), openai.BadRequestError, "validation-failed", "sampling.n"),
        (options(timeout_s=10_000), openai.BadRequestError, "validation-failed", "timeout_s"),
        (
            {"extra_headers": {"X-Demur-Quality": "best"}},
            openai.BadRequestError,
            "validation-failed",
            "X-Demur-Quality",
        ),
        (options(cache={"mode": "only"}) | {"seed": 99}, openai.NotFoundError, "cache-miss", None),
    ],
)
def test_refusals_are_such_as_the_client_knows(
    client: OpenAI, fields: dict[str, Any], error: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    """With a message, the field, and the slug of the problem."""
    with pytest.raises(error) as raised:
        ask(client, **fields)
    assert (raised.value.code, raised.value.param, raised.value.type) == (code, param, "invalid_request_error")
    assert raised.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"messages": [*user("q"), {"role": "tool", "content": "4", "tool_call_id": "1"}]}, "messages[1]"),
        ({"messages": user([{"type": "image_url", "image_url": {"url": "data:,"}}])}, "messages[0]"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True, "top_logprobs": 5}, "top_logprobs"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, "messages"),
        ({"messages": user("x" * 40_000)}, "messages"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"n": 33}, "n"),
        (options(enabled=False), "uncertainty.enabled"),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_what_cannot_be_scored_needs_a_server_behind(
    client: OpenAI, fields: dict[str, Any], param: str, is_stream: bool
) -> None:
    """In process there is none: the field is named, and nothing is drawn."""
    with pytest.raises(openai.BadRequestError, match="cannot be scored") as raised:
        ask(client, stream=is_stream, **fields)
    assert (raised.value.code, raised.value.param) == ("unsupported-by-backend", param)


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"method": "POST", "content": b"{"}, 400, "malformed-json"),
        (
            {"method": "POST", "content": b"{}", "headers": {"Content-Type": "text/plain"}},
            415,
            "unsupported-media-type",
        ),
        ({"method": "POST", "content": b" " * 1_100_000}, 413, "body-too-large"),
        ({"method": "GET"}, 405, "method-not-allowed"),
    ],
)
def test_what_is_hardly_a_request_is_told_the_same_way(
    service: Service, request_: dict[str, Any], status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json", **request_.pop("headers", {})}
    reply = service.client.request(url="/v1/chat/completions", headers=headers, **request_)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_keys_and_rates() -> None:
    """401, 403 and 429 are the client's own errors; samples count as on the other door."""
    secret, key = new_key("mine", "answer")
    other, mute = new_key("other", "feedback")
    auth = AuthSettings(api_keys=SecretStr(f"{key.line};{mute.line}"), rate_limit_samples="12/60s")
    with serving(answers, settings=Settings(auth=auth)) as service:

        def client(api_key: str) -> OpenAI:
            return OpenAI(base_url=f"{service.url}/v1", api_key=api_key, max_retries=0)

        with client("wrong") as stranger, pytest.raises(openai.AuthenticationError):
            ask(stranger)
        with client(other) as mute_one, pytest.raises(openai.PermissionDeniedError):
            ask(mute_one)
        with client(secret) as mine:
            assert ask(mine).choices
            with pytest.raises(openai.RateLimitError) as raised:
                ask(mine, "split")
            assert int(raised.value.response.headers["Retry-After"]) >= 1
            assert raised.value.response.headers["x-ratelimit-limit-samples"] == "12"


def test_a_client_that_leaves_ends_the_work(service: Service) -> None:
    """Without `stream` too."""
    body = json.dumps({"model": MODEL, "messages": user("slow")}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with connection(service) as connected:
        connected.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        wait_for(lambda: service.sampler.n_running == 10, "the samples to be drawn")
    wait_for(lambda: service.sampler.n_running == 0, "the samples to be cancelled")


def test_the_same_key_is_answered_once(service: Service) -> None:
    """`Idempotency-Key` works on this door as well, streams included."""
    for is_stream in (False, True):
        body = {
            "model": MODEL,
            "messages": user("split"),
            "stream": is_stream,
            "uncertainty": {"cache": {"mode": "bypass"}},
        }
        headers = {"Idempotency-Key": f"once-{is_stream}"}
        replies = [service.client.post("/v1/chat/completions", json=body, headers=headers) for _ in range(2)]
        assert replies[0].text == replies[1].text
        assert replies[1].headers["Idempotency-Replayed"] == "true"


def test_answers_of_this_door_are_counted_like_others(service: Service, client: OpenAI) -> None:
    before = metric(service, "demur_answers_total", model=MODEL)
    ask(client, "counted")
    assert metric(service, "demur_answers_total", model=MODEL) == before + 1
    assert httpx2.get(f"{service.url}/livez").status_code == 200
