"""LlamaIndex: query engine and evaluator, against a live service on the bundled model."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.llms import ChatMessage
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.llms.openai_like import OpenAILike

from demur_client import AsyncDemur, Demur
from demur_client.llama_index import UncertaintyEvaluator, UncertaintyQueryEngine
from tests.adapters.documents import KNOWN, NOWHERE, UNKNOWN, matching

EXAMPLES = Path(__file__).parents[2] / "examples"
# Thresholds of our own: after a retrieval, the bundled profile stands by the one retriever that it was certified with.
OPTIONS: dict[str, Any] = {"sampling": {"seed": 1}, "policy": {"answer_min": 0.7}}


class StateRetriever(BaseRetriever):
    """Finds the documents on the state that is asked about; counts how often it is asked."""

    n_asked = 0

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.n_asked += 1
        found = matching(query_bundle.query_str).items()
        return [NodeWithScore(node=TextNode(id_=state, text=text), score=1.0) for state, text in found]


@pytest.fixture
def client(url: str) -> Iterator[Demur]:
    with Demur(base_url=url) as connected:
        yield connected


@pytest.fixture
def engine(client: Demur) -> UncertaintyQueryEngine:
    return UncertaintyQueryEngine(retriever=StateRetriever(), client=client, options=OPTIONS)


def test_what_the_model_knows_is_not_looked_up(engine: UncertaintyQueryEngine) -> None:
    response = engine.query(KNOWN[0])
    assert KNOWN[1] in str(response)
    assert (response.metadata["n_lookups"], response.source_nodes) == (0, [])
    assert response.metadata["demur"]["decision"] == "answer"
    assert engine.retriever.n_asked == 0


def test_what_it_does_not_know_is_looked_up_and_read(engine: UncertaintyQueryEngine) -> None:
    response = engine.query(QueryBundle(UNKNOWN[0]))
    assert UNKNOWN[1] in str(response)
    assert (response.metadata["n_lookups"], response.metadata["demur"]["decision"]) == (1, "answer")
    assert [node.node_id for node in response.source_nodes] == ["Wyoming"]
    assert response.metadata["demur"]["groundedness"] > 0.5


def test_what_is_nowhere_is_not_answered(client: Demur) -> None:
    """The retriever finds nothing, and the answer is left out where that is wanted."""
    options = OPTIONS | {"on_abstain": "omit", "retrieval": {"available": False}}
    engine = UncertaintyQueryEngine(retriever=StateRetriever(), client=client, options=OPTIONS)
    response = engine.query(NOWHERE)
    assert (response.metadata["demur"]["decision"], response.source_nodes) == ("retrieve", [])
    assert client.answer(NOWHERE, **options).answer is None


def test_it_is_awaited_with_and_without_an_async_client(
    engine: UncertaintyQueryEngine, client: Demur, url: str
) -> None:
    assert UNKNOWN[1] in str(asyncio.run(engine.aquery(UNKNOWN[0])))

    async def run() -> Any:
        async with AsyncDemur(base_url=url) as async_client:
            awaited = UncertaintyQueryEngine(
                retriever=StateRetriever(), client=client, async_client=async_client, options=OPTIONS
            )
            return await awaited.aquery(UNKNOWN[0])

    response = asyncio.run(run())
    assert (UNKNOWN[1] in str(response), response.metadata["n_lookups"]) == (True, 1)
    assert isinstance(engine, CustomQueryEngine)


def test_an_answer_made_elsewhere_is_evaluated(client: Demur, url: str) -> None:
    """Right passes, wrong does not; with contexts it is weighed against them."""
    evaluator = UncertaintyEvaluator(client, **OPTIONS)
    right = evaluator.evaluate(query=KNOWN[0], response=KNOWN[1])
    assert (right.passing, right.feedback.split(":")[0]) == (True, "answer")
    wrong = evaluator.evaluate(query=KNOWN[0], response="Cleveland")
    assert (wrong.passing, wrong.score < 0.5 < right.score) == (False, True)
    read = evaluator.evaluate(query=UNKNOWN[0], response=UNKNOWN[1], contexts=list(matching(UNKNOWN[0]).values()))
    assert read.passing

    async def awaited() -> Any:
        async with AsyncDemur(base_url=url) as async_client:
            return await UncertaintyEvaluator(client, async_client, **OPTIONS).aevaluate(KNOWN[0], KNOWN[1])

    assert asyncio.run(awaited()).passing


def test_a_response_of_an_engine_is_evaluated(engine: UncertaintyQueryEngine, client: Demur) -> None:
    result = UncertaintyEvaluator(client, **OPTIONS).evaluate_response(UNKNOWN[0], engine.query(UNKNOWN[0]))
    assert (result.passing, len(result.contexts)) == (True, 1)


def test_nothing_to_evaluate_is_an_invalid_result(client: Demur) -> None:
    result = UncertaintyEvaluator(client).evaluate(query="", response=None)
    assert (result.invalid_result, result.passing, result.score) == (True, None, None)
    assert result.invalid_reason


def test_openai_like_is_answered_by_the_drop_in(url: str) -> None:
    """LlamaIndex's own client, whose temperature is 0.1 unless told otherwise: whole, and streamed."""
    llm = OpenAILike(
        model="demur-facts@fast",
        api_base=f"{url}/v1",
        api_key="none",
        is_chat_model=True,
        additional_kwargs={"seed": 1},
    )
    asked = [ChatMessage(role="user", content=KNOWN[0])]
    reply = llm.chat(asked)
    assert KNOWN[1] in reply.message.content
    assert reply.raw.uncertainty["decision"] == "answer"
    *_, last = llm.stream_chat(asked)
    assert KNOWN[1] in last.message.content


def test_the_example_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "llama_index_rag.py"), run_name="__main__")
    assert UNKNOWN[1] in capsys.readouterr().out
