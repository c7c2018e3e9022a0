"""Demur in LangChain and LangGraph (extra `langchain`): a chat model, a Runnable, an edge, an agent middleware.

Tools, images and response formats cannot be scored: for them point `ChatOpenAI` at the service's `/v1`, which hands
them on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, SecretStr

from demur_client import AnswerResult, AsyncDemur, Demur
from demur_client._options import MessageOption

_ROLES: dict[str, Literal["system", "user", "assistant"]] = {"system": "system", "human": "user", "ai": "assistant"}
VERDICT = "demur"
"""Where the verdict is in `AIMessage.response_metadata`, and in the state of a graph."""


class ChatDemur(BaseChatModel):
    """A chat model whose messages carry a verdict: `message.response_metadata["demur"]`, as `/v1/answer` sends it.

    `options` are those of `Demur.answer`; a call's keyword arguments go before them.
    """

    base_url: str | None = None
    api_key: SecretStr | None = None
    timeout: float = 120.0
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "demur"

    def _connection(self) -> dict[str, Any]:
        key = self.api_key.get_secret_value() if self.api_key else None
        return {"base_url": self.base_url, "api_key": key, "timeout": self.timeout}

    def _asked(self, stop: list[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
        asked = {**self.options, **given}
        return asked | {"sampling": {**asked.get("sampling", {}), "stop": stop}} if stop else asked

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        with Demur(**self._connection()) as client:
            return _result(client.answer(messages=turns(messages), **self._asked(stop, kwargs)))

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        async with AsyncDemur(**self._connection()) as client:
            return _result(await client.answer(messages=turns(messages), **self._asked(stop, kwargs)))


class UncertaintyRunnable(Runnable[Any, AnswerResult]):
    """A question in, an AnswerResult out. The question is a text, messages, or `{"question": ..., "context": ...}`.

    With `context` (texts or Documents; also none), it counts as asked after one retrieval, unless `options` say more.
    `Demur` answers `invoke`; `AsyncDemur`, where given, `ainvoke`.
    """

    def __init__(self, client: Demur, async_client: AsyncDemur | None = None, **options: Any) -> None:
        self._client, self._async_client, self._options = client, async_client, options

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AnswerResult:
        return self._call_with_config(lambda asked: self._client.answer(**self._call(asked, kwargs)), input, config)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AnswerResult:
        client = self._async_client
        if client is None:
            return await super().ainvoke(input, config, **kwargs)

        async def answer(asked: Any) -> AnswerResult:
            return await client.answer(**self._call(asked, kwargs))

        return await self._acall_with_config(answer, input, config)

    def _call(self, asked: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        options = {**self._options, **given}
        if isinstance(asked, Mapping):
            context = [_passage(each) for each in asked.get("context") or ()]
            retrieval = {"attempt": 1} if asked.get("context") is not None else {}
            asked = asked["question"]
            options |= {"context": context, "retrieval": {**retrieval, **options.get("retrieval", {})}}
        return options | ({"prompt": asked} if isinstance(asked, str) else {"messages": turns(asked)})


def decide(state: Any) -> Literal["answer", "retrieve", "abstain"]:
    """The edge of a LangGraph graph: where to go after an answer, by `state["demur"]`, else by the last message.

    A decision that a newer service may know is `abstain` here. Raises ValueError where there is no verdict.
    """
    found = state.get(VERDICT)
    if found is None and state.get("messages"):
        found = state["messages"][-1].response_metadata.get(VERDICT)
    if found is None:
        raise ValueError(f"no verdict in state[{VERDICT!r}], and none in the last message's response_metadata")
    decision = found["decision"] if isinstance(found, Mapping) else found.decision
    return decision if decision in ("answer", "retrieve") else "abstain"


class DemurMiddleware(AgentMiddleware):
    """Puts a verdict on the agent's final answers, whichever model gave them, in `response_metadata["demur"]`.

    The answer is rated by `POST /v1/score` as one to the last human message, with what tools brought as its context.
    Tool calls are let through unscored. `replace` takes the place of the text where the decision is to abstain.
    """

    def __init__(
        self, client: Demur, async_client: AsyncDemur | None = None, *, replace: str | None = None, **options: Any
    ) -> None:
        super().__init__()
        self._client, self._async_client = client, async_client
        self._replace, self._options = replace, options

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        response = handler(request)
        asked = self._asked(request, response)
        return response if asked is None else self._marked(response, self._client.score(**asked))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        response = await handler(request)
        asked = self._asked(request, response)
        if asked is None:
            return response
        if self._async_client is None:
            raise TypeError("DemurMiddleware needs an AsyncDemur as `async_client` in an agent that is awaited")
        return self._marked(response, await self._async_client.score(**asked))

    def _asked(self, request: ModelRequest[Any], response: ModelResponse[Any]) -> dict[str, Any] | None:
        asked = _final_answer(request, response)
        return None if asked is None else asked | self._options

    def _marked(self, response: ModelResponse[Any], verdict: Any) -> ModelResponse[Any]:
        *before, last = response.result
        marked: dict[str, Any] = {
            "response_metadata": last.response_metadata | {VERDICT: verdict.model_dump(mode="json")}
        }
        if self._replace is not None and verdict.decision == "abstain":
            marked["content"] = self._replace
        return ModelResponse(
            result=[*before, last.model_copy(update=marked)], structured_response=response.structured_response
        )


def turns(messages: Sequence[BaseMessage]) -> list[MessageOption]:
    """Raises ValueError for what is not a text of a person, a model or the system."""
    found: list[MessageOption] = []
    for message in messages:
        blocks = [message.content] if isinstance(message.content, str) else message.content
        is_text = all(isinstance(block, str) or block.get("type") == "text" for block in blocks)
        if message.type not in _ROLES or not is_text or getattr(message, "tool_calls", None):
            raise ValueError(f"a {message.type} message with tools or other media cannot be scored; see ChatOpenAI")
        found.append({"role": _ROLES[message.type], "content": str(message.text)})
    return found


def _final_answer(request: ModelRequest[Any], response: ModelResponse[Any]) -> dict[str, Any] | None:
    """What to have rated; None for a tool call, and where there is a verdict already."""
    last = response.result[-1]
    questions = [place for place, m in enumerate(request.messages) if isinstance(m, HumanMessage)]
    is_answer = isinstance(last, AIMessage) and last.text and not last.tool_calls
    if not is_answer or not questions or VERDICT in last.response_metadata:
        return None
    brought = [
        {"text": str(m.text)} for m in request.messages[questions[-1] :] if isinstance(m, ToolMessage) and m.text
    ]
    retrieval = {"attempt": 1} if brought else {}
    prompt = str(request.messages[questions[-1]].text)
    return {"prompt": prompt, "answer": str(last.text), "context": brought, "retrieval": retrieval}


def _passage(found: Any) -> dict[str, Any]:
    return {"text": found.page_content, "id": found.id} if isinstance(found, Document) else {"text": str(found)}


def _result(result: AnswerResult) -> ChatResult:
    message = AIMessage(
        content=result.answer or "",
        response_metadata={"model_name": result.model, VERDICT: result.model_dump(mode="json")},
        usage_metadata={
            "input_tokens": result.usage.prompt_tokens,
            "output_tokens": result.usage.completion_tokens,
            "total_tokens": result.usage.total_tokens,
        },
    )
    return ChatResult(generations=[ChatGeneration(message=message)])
