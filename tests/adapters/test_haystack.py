"""Haystack: chat generator and router in pipelines, against a live service on the bundled model."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

from demur_client.haystack import UncertaintyChatGenerator, UncertaintyRouter
from tests.adapters.documents import KNOWN, NOWHERE, UNKNOWN, documents

EXAMPLES = Path(__file__).parents[2] / "examples"
# Thresholds of our own: after a retrieval, the bundled profile stands by the one retriever that it was certified with.
OPTIONS: dict[str, Any] = {"sampling": {"seed": 1}, "policy": {"answer_min": 0.7}}


@pytest.fixture
def generator(url: str) -> UncertaintyChatGenerator:
    return UncertaintyChatGenerator(base_url=url, options=OPTIONS)


@pytest.fixture(scope="module")
def retriever() -> InMemoryBM25Retriever:
    store = InMemoryDocumentStore()
    store.write_documents([Document(content=text, meta={"state": state}) for state, text in documents().items()])
    return InMemoryBM25Retriever(store, top_k=1)


def test_a_reply_has_its_verdict(generator: UncertaintyChatGenerator) -> None:
    reply = generator.run([ChatMessage.from_user(KNOWN[0])])["replies"][0]
    assert KNOWN[1] in reply.text
    assert reply.meta["demur"]["decision"] == "answer"
    assert (reply.meta["model"], reply.meta["finish_reason"]) == ("demur-facts", "stop")
    assert reply.meta["usage"]["total_tokens"] > 0


def test_it_is_awaited(generator: UncertaintyChatGenerator) -> None:
    for _ in range(2):
        reply = asyncio.run(generator.run_async([ChatMessage.from_user(KNOWN[0])]))["replies"][0]
        assert KNOWN[1] in reply.text


def test_options_of_a_run_go_before_those_of_the_component(generator: UncertaintyChatGenerator) -> None:
    few = generator.run([ChatMessage.from_user(KNOWN[0])], generation_kwargs={"quality": "fast"})
    assert few["replies"][0].meta["demur"]["sampling"]["completed"] == 5


def test_what_cannot_be_scored_is_refused_with_a_way_out(generator: UncertaintyChatGenerator) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    image = ChatMessage.from_user(content_parts=["What is this?", ImageContent(pixel, mime_type="image/png")])
    with pytest.raises(ValueError, match="OpenAIChatGenerator"):
        generator.run([image])


def test_the_router_sends_each_reply_where_its_decision_says() -> None:
    def reply(decision: str) -> ChatMessage:
        return ChatMessage.from_assistant(decision, meta={"demur": {"decision": decision}})

    said = [reply(decision) for decision in ("answer", "abstain", "ask_a_friend", "answer")]
    routed = UncertaintyRouter().run(said)
    assert {way: [r.text for r in replies] for way, replies in routed.items()} == {
        "answer": ["answer", "answer"],
        "abstain": ["abstain", "ask_a_friend"],
    }
    with pytest.raises(ValueError, match="no verdict"):
        UncertaintyRouter().run([ChatMessage.from_assistant("x")])


def pipeline(url: str, retriever: InMemoryBM25Retriever) -> Pipeline:
    """Ask; what is to be looked up goes to a second round with documents."""
    rag = Pipeline()
    rag.add_component("ask", UncertaintyChatGenerator(base_url=url, options=OPTIONS))
    rag.add_component("route", UncertaintyRouter())
    rag.add_component("look_up", retriever)
    rag.add_component("read", UncertaintyChatGenerator(base_url=url, options=OPTIONS))
    rag.add_component("route_again", UncertaintyRouter())
    rag.connect("ask.replies", "route.replies")
    rag.connect("look_up.documents", "read.documents")
    rag.connect("read.replies", "route_again.replies")
    return rag


def ask(rag: Pipeline, question: str) -> dict[str, Any]:
    messages = [ChatMessage.from_user(question)]
    asked = {"ask": {"messages": messages}, "look_up": {"query": question}, "read": {"messages": messages}}
    found: dict[str, Any] = rag.run(asked)
    return found


def test_a_pipeline_reads_what_a_retriever_found(url: str, retriever: InMemoryBM25Retriever) -> None:
    rag = pipeline(url, retriever)
    found = ask(rag, UNKNOWN[0])
    assert list(found["route"]) == ["retrieve"]
    (read,) = found["route_again"]["answer"]
    assert UNKNOWN[1] in read.text
    assert read.meta["demur"]["groundedness"] > 0.5
    assert list(ask(rag, KNOWN[0])["route"]) == ["answer"]
    assert "answer" not in ask(rag, NOWHERE)["route"]


def test_a_pipeline_is_written_down_and_read_again(url: str, retriever: InMemoryBM25Retriever) -> None:
    """With the key as a secret that is looked up where it runs; Haystack wants the module named that it may load."""
    rag = Pipeline()
    key = Secret.from_env_var("DEMUR_TEST_KEY", strict=False)
    rag.add_component("ask", UncertaintyChatGenerator(base_url=url, api_key=key, options=OPTIONS))
    rag.add_component("route", UncertaintyRouter())
    rag.connect("ask.replies", "route.replies")
    again = Pipeline.loads(rag.dumps(), allowed_modules=["demur_client.haystack"])
    assert "answer" in again.run({"ask": {"messages": [ChatMessage.from_user(KNOWN[0])]}})["route"]


def test_haystacks_own_generator_is_answered_by_the_drop_in(url: str) -> None:
    chat = OpenAIChatGenerator(api_key=Secret.from_token("none"), model="demur-facts@fast", api_base_url=f"{url}/v1")
    assert KNOWN[1] in chat.run([ChatMessage.from_user(KNOWN[0])])["replies"][0].text
    heard: list[str] = []
    chat.run([ChatMessage.from_user(KNOWN[0])], streaming_callback=lambda chunk: heard.append(chunk.content))
    assert KNOWN[1] in "".join(heard)


def test_the_example_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "haystack_rag.py"), run_name="__main__")
    assert UNKNOWN[1] in capsys.readouterr().out
