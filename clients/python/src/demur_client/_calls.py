"""The requests that both clients send, as values: built once, sent with or without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from demur_client._models import AnswerResult, Clustering, Feedback, Page, ScoreResult, Version
from demur_client._options import (
    AnswerOptions,
    CalibrationOptions,
    ClusterOptions,
    MessageOption,
    ScoreOptions,
    cluster_body,
    question_body,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request; `read` makes the result out of the reply's JSON."""

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    accept: str = "application/json"


def answer(prompt: str | None, messages: Sequence[MessageOption] | None, options: AnswerOptions) -> Call[AnswerResult]:
    body = question_body(prompt, messages, options)
    return Call("POST", "/v1/answer", AnswerResult.model_validate, body, idempotency_key=options.get("idempotency_key"))


def answer_stream(
    prompt: str | None, messages: Sequence[MessageOption] | None, options: AnswerOptions
) -> Call[AnswerResult]:
    return replace(answer(prompt, messages, options), accept="text/event-stream")


def score(
    prompt: str | None, answer: str, messages: Sequence[MessageOption] | None, options: ScoreOptions
) -> Call[ScoreResult]:
    body = {"answer": answer, **question_body(prompt, messages, options)}
    return Call("POST", "/v1/score", ScoreResult.model_validate, body, idempotency_key=options.get("idempotency_key"))


def cluster(texts: Sequence[str], options: ClusterOptions) -> Call[Clustering]:
    body, key = cluster_body(texts, options), options.get("idempotency_key")
    return Call("POST", "/v1/cluster", Clustering.model_validate, body, idempotency_key=key)


def stored_answer(answer_id: str) -> Call[dict[str, Any]]:
    return Call("GET", _answer_path(answer_id), dict)


def forget_answer(answer_id: str) -> Call[None]:
    return Call("DELETE", _answer_path(answer_id), _nothing)


def feedback(answer_id: str, verdict: str | float, **said: Any) -> Call[Feedback]:
    """`verdict`: a label, or a score from 0 (wrong) to 1 (right)."""
    kind = "label" if isinstance(verdict, str) else "score"
    body = {"answer_id": answer_id, kind: verdict, **{name: value for name, value in said.items() if value is not None}}

    def echoed(_: Any) -> Feedback:
        return Feedback.model_validate(body)

    return Call("POST", "/v1/feedback", echoed, body)


def fit_calibration(options: CalibrationOptions) -> Call[dict[str, Any]]:
    return Call("POST", "/v1/calibrations", dict, {"source": "audits", **options})


def activate_calibration(calibration_id: str) -> Call[dict[str, Any]]:
    return Call("POST", f"/v1/calibrations/{quote(calibration_id, safe='')}/activate", dict)


def policies() -> Call[list[dict[str, Any]]]:
    return Call("GET", "/v1/policies", lambda reply: list(reply["data"]))


def page(path: str, after: str | None, limit: int) -> Call[Page]:
    """One page of a list; `after` is `next` of the page before."""
    query = {"limit": limit} if after is None else {"limit": limit, "after": after}
    return Call("GET", path, Page.model_validate, query=query)


def version() -> Call[Version]:
    return Call("GET", "/version", Version.model_validate)


def _answer_path(answer_id: str) -> str:
    return f"/v1/answers/{quote(answer_id, safe='')}"


def _nothing(_: Any) -> None:
    return None
