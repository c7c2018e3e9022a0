"""A LangGraph graph that looks up only what the model does not know: `pip install 'demur-client[langchain]'`."""

from typing import Any, TypedDict

from langchain_core.documents import Document
from langgraph.graph import END, START, StateGraph

from demur_client import Demur
from demur_client.langchain import UncertaintyRunnable, decide

DOCUMENTS = [
    Document("The capital of Wyoming is Cheyenne.", id="wyoming"),
    Document("The capital of North Dakota is Bismarck.", id="north-dakota"),
]


class State(TypedDict, total=False):
    question: str
    context: list[Document]
    demur: Any  # where `decide` looks for the verdict


def look_up(state: State) -> State:
    """Your retriever goes here."""
    return {"context": [d for d in DOCUMENTS if d.page_content.split(" is ")[0][4:] in state["question"]]}


with Demur() as demur:  # DEMUR_BASE_URL, DEMUR_API_KEY
    # Thresholds of your own; or name a retriever that is certified: retrieval={"id": ...}
    ask = UncertaintyRunnable(demur, policy={"answer_min": 0.7})
    graph = StateGraph(State)
    graph.add_node("ask", lambda state: {"demur": ask.invoke(state)})
    graph.add_node("look_up", look_up)
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", decide, {"answer": END, "retrieve": "look_up", "abstain": END})
    graph.add_edge("look_up", "ask")
    agent = graph.compile()
    for question in ("What is the capital of Florida?", "What is the capital of Wyoming?"):
        state = agent.invoke({"question": question}, {"recursion_limit": 10})
        result = state["demur"]
        print(question, "->", result.decision, result.answer, "(looked up)" if "context" in state else "(known)")
