"""LangChain and LangGraph: the adapters and `ChatOpenAI`, against a live service on the bundled model."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages

from demur_client import AsyncDemur, Demur
from demur_client.langchain import ChatDemur, DemurMiddleware, UncertaintyRunnable, decide
from tests.adapters.documents import KNOWN, NOWHERE, UNKNOWN, matching

EXAMPLES = Path(__file__).parents[2] / "examples"
# Thresholds of our own: after a retrieval, the bundled profile stands by the one retriever that it was certified with.
SEED = {"sampling": {"seed": 1}, "policy": {"answer_min": 0.7}}


@pytest.fixture
def client(url: str) -> Iterator[Demur]:
    with Demur(base_url=url) as connected:
        yield connected


@pytest.fixture
def chat(url: str) -> ChatDemur:
    return ChatDemur(base_url=url, options=SEED)


def retrieve(question: str) -> list[Document]:
    return [Document(text, id=state) for state, text in matching(question).items()]


# --- ChatOpenAI against the drop-in ----------------------------------------------------------------------------------


@pytest.fixture
def openai_chat(url: str) -> ChatOpenAI:
    return ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="demur-facts@fast", seed=1)


def test_chat_openai_is_answered(openai_chat: ChatOpenAI) -> None:
    reply = openai_chat.invoke([SystemMessage("Be brief."), HumanMessage("What is the capital of France?")])
    assert "Paris" in reply.text
    assert reply.usage_metadata["output_tokens"] > 0


def test_chat_openai_sees_the_verdict_in_headers(url: str) -> None:
    chat = ChatOpenAI(
        base_url=f"{url}/v1", api_key="none", model="demur-facts", temperature=0, include_response_headers=True
    )
    reply = chat.invoke(KNOWN[0])
    assert KNOWN[1] in reply.text
    assert reply.response_metadata["headers"]["x-demur-decision"] == "answer"


def test_chat_openai_streams(openai_chat: ChatOpenAI) -> None:
    assert KNOWN[1] in "".join(str(chunk.text) for chunk in openai_chat.stream(KNOWN[0]))

    async def heard() -> str:
        return "".join([str(chunk.text) async for chunk in openai_chat.astream(KNOWN[0])])

    assert KNOWN[1] in asyncio.run(heard())


def test_chat_openai_calls_tools_through_the_service(upstream_url: str) -> None:
    @tool
    def look_up(name: str) -> str:
        """Look something up."""
        return name

    chat = ChatOpenAI(base_url=f"{upstream_url}/v1", api_key="none", model="tiny-remote", include_response_headers=True)
    reply = chat.bind_tools([look_up]).invoke("What is the capital of France?")
    assert reply.tool_calls[0]["name"] == "look_up"
    assert reply.response_metadata["headers"]["x-demur-skipped"] == "tools"


# --- ChatDemur -------------------------------------------------------------------------------------------------------


def test_a_message_has_its_verdict(chat: ChatDemur) -> None:
    reply = chat.invoke(KNOWN[0])
    verdict = reply.response_metadata["demur"]
    assert (KNOWN[1] in reply.text, verdict["decision"]) == (True, "answer")
    assert reply.usage_metadata["total_tokens"] == verdict["usage"]["total_tokens"]
    assert reply.response_metadata["model_name"] == "demur-facts"


def test_it_is_awaited_streamed_and_batched(chat: ChatDemur) -> None:
    """In more than one event loop, one after the other."""
    for _ in range(2):
        assert KNOWN[1] in asyncio.run(chat.ainvoke(KNOWN[0])).text
    assert KNOWN[1] in "".join(str(chunk.text) for chunk in chat.stream(KNOWN[0]))
    assert [KNOWN[1] in reply.text for reply in chat.batch([KNOWN[0]] * 3)] == [True] * 3


def test_options_of_a_call_go_before_those_of_the_model(chat: ChatDemur) -> None:
    few = chat.invoke(KNOWN[0], quality="fast", stop=["\n"])
    assert few.response_metadata["demur"]["sampling"]["completed"] == 5


def test_a_conversation_is_sent_whole(chat: ChatDemur) -> None:
    turns = [("system", "Be brief."), ("human", "What is the capital of Peru?"), ("ai", "Lima"), ("human", KNOWN[0])]
    assert KNOWN[1] in chat.invoke(turns).text


def test_what_cannot_be_scored_is_refused_with_a_way_out(chat: ChatDemur) -> None:
    image = HumanMessage([{"type": "image", "url": "https://example.org/x.png"}])
    with pytest.raises(ValueError, match="ChatOpenAI"):
        chat.invoke([image])
    with pytest.raises(NotImplementedError):
        chat.bind_tools([retrieve])


# --- Runnable and edge -----------------------------------------------------------------------------------------------


def test_a_runnable_gives_the_result_itself(client: Demur, url: str) -> None:
    asks = UncertaintyRunnable(client, **SEED)
    assert asks.invoke(KNOWN[0]).decision == "answer"
    assert asks.invoke([HumanMessage(UNKNOWN[0])]).decision == "retrieve"
    assert asyncio.run(asks.ainvoke(KNOWN[0])).decision == "answer"

    async def natively() -> str:
        async with AsyncDemur(base_url=url) as async_client:
            return str((await UncertaintyRunnable(client, async_client, **SEED).ainvoke(KNOWN[0])).decision)

    assert asyncio.run(natively()) == "answer"


def test_a_chain_with_a_retriever(client: Demur) -> None:
    """Documents become passages, and the question counts as asked after a retrieval."""
    found = RunnableLambda(lambda question: {"question": question, "context": retrieve(question)})
    chain = found | UncertaintyRunnable(client, **SEED)
    assert UNKNOWN[1] in chain.invoke(UNKNOWN[0]).answer
    assert chain.invoke(UNKNOWN[0]).decision == "answer"


class State(TypedDict, total=False):
    question: str
    context: list[Document]
    demur: Any
    messages: Annotated[list[Any], add_messages]


def graph(client: Demur) -> Any:
    """Ask; look up where that is the decision; ask again."""
    asks = UncertaintyRunnable(client, **SEED)
    built = StateGraph(State)
    built.add_node("ask", lambda state: {"demur": asks.invoke(state)})
    built.add_node("look_up", lambda state: {"context": retrieve(state["question"])})
    built.add_edge(START, "ask")
    built.add_conditional_edges("ask", decide, {"answer": END, "retrieve": "look_up", "abstain": END})
    built.add_edge("look_up", "ask")
    return built.compile()


def test_a_graph_looks_up_only_what_the_model_does_not_know(client: Demur) -> None:
    known = graph(client).invoke({"question": KNOWN[0]})
    assert ("context" in known, known["demur"].decision) == (False, "answer")
    looked_up = graph(client).invoke({"question": UNKNOWN[0]})
    assert (UNKNOWN[1] in looked_up["demur"].answer, looked_up["demur"].decision) == (True, "answer")


def test_the_edge_reads_messages_and_refuses_to_guess() -> None:
    """By the last message where the state has no verdict; a decision that is not known yet is `abstain`."""

    def said(decision: str) -> dict[str, Any]:
        return {"messages": [AIMessage("x", response_metadata={"demur": {"decision": decision}})]}

    assert [decide(said(each)) for each in ("answer", "retrieve", "ask_a_friend")] == ["answer", "retrieve", "abstain"]
    for state in ({}, {"messages": []}, {"messages": [AIMessage("x")]}):
        with pytest.raises(ValueError, match="no verdict"):
            decide(state)


# --- agent middleware ------------------------------------------------------------------------------------------------


@tool
def state_documents(question: str) -> str:
    """Look up documents on a state's capital."""
    return "\n".join(matching(question).values()) or "nothing found"


def agent(client: Demur, *replies: Any, **options: Any) -> Any:
    model = _Scripted(messages=iter(replies))
    return create_agent(model, [state_documents], middleware=[DemurMiddleware(client, **{**SEED, **options})])


class _Scripted(GenericFakeChatModel):
    """A model made elsewhere, with tools."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def test_an_agents_answer_is_rated(client: Demur) -> None:
    """Right and wrong, by what the service's model says; no tool was called."""
    for answer, decision in ((KNOWN[1], "answer"), ("Cleveland", "retrieve")):
        state = agent(client, AIMessage(answer)).invoke({"messages": [HumanMessage(KNOWN[0])]})
        last = state["messages"][-1]
        assert (last.text, last.response_metadata["demur"]["decision"]) == (answer, decision)
        assert decide(state) == decision


def test_tool_calls_are_let_through_and_what_they_bring_is_read(client: Demur) -> None:
    call = AIMessage("", tool_calls=[{"name": "state_documents", "args": {"question": UNKNOWN[0]}, "id": "1"}])
    state = agent(client, call, AIMessage(UNKNOWN[1])).invoke({"messages": [HumanMessage(UNKNOWN[0])]})
    called, last = state["messages"][1], state["messages"][-1]
    assert "demur" not in called.response_metadata
    assert last.response_metadata["demur"]["decision"] == "answer"
    assert last.response_metadata["demur"]["groundedness"] > 0.5


def test_what_is_not_stood_by_can_be_replaced(client: Demur) -> None:
    last = {"retrieval": {"available": False}}
    state = agent(client, AIMessage("Atlantis"), replace="I would have to guess.", **last).invoke(
        {"messages": [HumanMessage(NOWHERE)]}
    )
    assert state["messages"][-1].text == "I would have to guess."


def test_an_awaited_agent_needs_an_async_client(client: Demur, url: str) -> None:
    asked = {"messages": [HumanMessage(KNOWN[0])]}
    with pytest.raises(TypeError, match="AsyncDemur"):
        asyncio.run(agent(client, AIMessage(KNOWN[1])).ainvoke(asked))

    async def run() -> Any:
        async with AsyncDemur(base_url=url) as async_client:
            return await agent(client, AIMessage(KNOWN[1]), async_client=async_client).ainvoke(asked)

    assert asyncio.run(run())["messages"][-1].response_metadata["demur"]["decision"] == "answer"


def test_a_verdict_that_is_there_is_not_asked_for_again(client: Demur) -> None:
    said = AIMessage("x", response_metadata={"demur": {"decision": "answer"}})
    last = agent(client, said).invoke({"messages": [HumanMessage(NOWHERE)]})["messages"][-1]
    assert last.response_metadata["demur"] == {"decision": "answer"}


def test_the_example_runs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "langchain_rag.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert "answer" in shown
    assert UNKNOWN[1] in shown
