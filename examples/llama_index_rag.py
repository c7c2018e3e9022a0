"""A query engine that looks up only what the model does not know: `pip install 'demur-client[llama-index]'`."""

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from demur_client import Demur
from demur_client.llama_index import UncertaintyEvaluator, UncertaintyQueryEngine

DOCUMENTS = {
    "Wyoming": "The capital of Wyoming is Cheyenne.",
    "North Dakota": "The capital of North Dakota is Bismarck.",
}


class Lookup(BaseRetriever):
    """Any retriever of LlamaIndex will do: `VectorStoreIndex.from_documents(...).as_retriever()`, for one."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = [(name, text) for name, text in DOCUMENTS.items() if name in query_bundle.query_str]
        return [NodeWithScore(node=TextNode(id_=name, text=text), score=1.0) for name, text in found]


with Demur() as demur:  # DEMUR_BASE_URL, DEMUR_API_KEY
    # Thresholds of your own; or name a retriever that is certified: retriever_id=...
    engine = UncertaintyQueryEngine(retriever=Lookup(), client=demur, options={"policy": {"answer_min": 0.7}})
    for question in ("What is the capital of Florida?", "What is the capital of Wyoming?"):
        response = engine.query(question)
        sources = [node.node_id for node in response.source_nodes]
        print(question, "->", response.metadata["demur"]["decision"], response, sources)

    # An answer that another model gave.
    result = UncertaintyEvaluator(demur).evaluate("What is the capital of Florida?", "Cleveland")
    print("Cleveland?", result.passing, result.score, result.feedback)
