"""Demur in LlamaIndex (`[llama-index]`): a query engine that looks up what a model does not know; an evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.response.schema import Response
from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import NodeWithScore
from pydantic import Field

from demur_client import AsyncDemur, AsyncRagLoop, Demur, PassageOption, RagLoop, RagResult


class UncertaintyQueryEngine(CustomQueryEngine):
    """Asks the model first, and `retriever` only where the decision is to retrieve; then asks again with its nodes.

    `str(response)` is the answer; `metadata["demur"]` the last verdict, `metadata["n_lookups"]` how often it looked up;
    `source_nodes` are the nodes that the last answer rests on. `options` are those of `Demur.answer`; with
    `on_abstain: "omit"` an answer that the service does not stand by is None.
    """

    retriever: BaseRetriever
    client: Demur = Field(exclude=True)
    async_client: AsyncDemur | None = Field(default=None, exclude=True)
    max_attempts: int = 1
    retriever_id: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def custom_query(self, query_str: str) -> Response:
        found: list[NodeWithScore] = []

        def retrieve(question: str, attempt: int) -> list[PassageOption]:
            found.extend(self.retriever.retrieve(question))
            return _passages(found)

        loop = RagLoop(self.client, retrieve, **self._bounds())
        return _response(loop.run(query_str), found)

    async def acustom_query(self, query_str: str) -> Response:
        """Through `async_client` where there is one, else as `custom_query`."""
        if self.async_client is None:
            return self.custom_query(query_str)
        found: list[NodeWithScore] = []

        async def retrieve(question: str, attempt: int) -> list[PassageOption]:
            found.extend(await self.retriever.aretrieve(question))
            return _passages(found)

        loop = AsyncRagLoop(self.async_client, retrieve, **self._bounds())
        return _response(await loop.run(query_str), found)

    def _bounds(self) -> dict[str, Any]:
        return {"max_attempts": self.max_attempts, "retriever_id": self.retriever_id, "options": self.options}


class UncertaintyEvaluator(BaseEvaluator):
    """Rates an answer made elsewhere by what the service's model says: does it agree with itself, and with the answer?

    `score` is the confidence in [0, 1] (a probability of being right where the service is calibrated), `passing`
    whether the decision is `answer`. Nothing is sent without a query and a response: the result is invalid then, and
    says so. `options` are those of `Demur.score`.
    """

    def __init__(self, client: Demur, async_client: AsyncDemur | None = None, **options: Any) -> None:
        self._client, self._async_client, self._options = client, async_client, options

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts_dict: PromptDictType) -> None:
        """It has none."""

    def evaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        if not query or not response:
            return _invalid(query, response, contexts)
        verdict = self._client.score(**self._asked(query, response, contexts))
        return _evaluation(query, response, contexts, verdict)

    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        if self._async_client is None or not query or not response:
            return self.evaluate(query, response, contexts)
        verdict = await self._async_client.score(**self._asked(query, response, contexts))
        return _evaluation(query, response, contexts, verdict)

    def _asked(self, query: str, response: str, contexts: Sequence[str] | None) -> dict[str, Any]:
        passages = [{"text": text} for text in contexts or ()]
        retrieval = {"attempt": 1} if passages else {}
        return {"prompt": query, "answer": response, "context": passages, "retrieval": retrieval, **self._options}


def _passages(nodes: Sequence[NodeWithScore]) -> list[PassageOption]:
    return [{"text": node.get_content(), "id": node.node_id, "score": node.score} for node in nodes]


def _response(outcome: RagResult, found: list[NodeWithScore]) -> Response:
    used = {passage["id"] for passage in outcome.trace[-1].passages if not isinstance(passage, str)}
    return Response(
        response=outcome.answer,
        source_nodes=[node for node in found if node.node_id in used],
        metadata={"demur": outcome.result.model_dump(mode="json"), "n_lookups": outcome.n_lookups},
    )


def _evaluation(query: str, response: str, contexts: Sequence[str] | None, verdict: Any) -> EvaluationResult:
    weakened = f" ({', '.join(verdict.degraded)})" if verdict.degraded else ""
    return EvaluationResult(
        query=query,
        response=response,
        contexts=contexts,
        passing=verdict.decision == "answer",
        score=verdict.confidence,
        feedback=f"{verdict.decision}: {verdict.reason}{weakened}",
    )


def _invalid(query: str | None, response: str | None, contexts: Sequence[str] | None) -> EvaluationResult:
    reason = "needs a query and a response"
    return EvaluationResult(
        query=query, response=response, contexts=contexts, invalid_result=True, invalid_reason=reason
    )
