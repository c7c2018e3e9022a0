"""Whole completions, through the official client."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from demur.samplers.scripted import ScriptedSampler
from demur.types import Sample
from tests.service.chat.asking import MODEL, SCRIPT, ask, options, stream, user
from tests.service.running import Service, connection, metric, serving, wait_for


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
