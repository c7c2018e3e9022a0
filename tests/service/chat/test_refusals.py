"""What the OpenAI door refuses, as the official client sees it."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import OpenAI
from pydantic import SecretStr

from demur.access.keys import new_key
from demur.settings import AuthSettings, Settings
from tests.service.chat.asking import MODEL, answers, ask, options, user
from tests.service.running import Service, serving


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
