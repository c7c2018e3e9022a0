"""What servers say when they refuse; the wordings are theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from demur.errors import BackendError, ContextLengthExceeded, ValidationFailed
from demur.samplers.refusals import Refusal

SENT = ["model", "messages", "n", "logprobs", "top_logprobs", "seed", "temperature", "top_k", "max_tokens"]


def error(message: str, **fields: Any) -> str:
    return json.dumps({"error": {"message": message, **fields}})


@pytest.mark.parametrize(
    ("status", "text", "named"),
    [
        (400, error("Unsupported parameter.", param="logprobs"), {"logprobs"}),
        (400, error("Unrecognized request arguments supplied: seed, top_k"), {"seed", "top_k"}),
        (400, error("'n' must be 1", param=None), {"n"}),
        (400, error("Only one completion choice is allowed"), {"n"}),
        (422, json.dumps({"detail": "Unexpected fields in the request: {'n', 'logprobs'}"}), {"n", "logprobs"}),
        (422, json.dumps({"detail": [{"type": "extra_forbidden", "loc": ["body", "top_logprobs"]}]}), {"top_logprobs"}),
        (400, json.dumps({"object": "error", "message": "top_k must be > 0"}), {"top_k"}),
        (400, error("I cannot do that, none of it"), set()),
        (400, "not JSON at all: seed", {"seed"}),
    ],
)
def test_the_fields_a_server_complains_about_are_found(status: int, text: str, named: set[str]) -> None:
    """By `param`, in a sentence, in FastAPI's list, or by a paraphrase."""
    assert Refusal(status, text).named_fields(SENT) == named


TOO_LONG = [
    (error("This model's maximum context length is 8192 tokens. However, your messages resulted in 9003 tokens. "
           "Please reduce the length of the messages.", code="context_length_exceeded", param="messages"), 9003, 8192),
    (error("This model's maximum context length is 4096 tokens. However, you requested 5256 tokens (5000 in the "
           "messages, 256 in the completion). Please reduce the length of the messages or completion."), 5000, 4096),
    (json.dumps({"object": "error", "message": "The input (61709 tokens) is longer than the model's context length "
                 "(40960 tokens).", "code": 400}), 61709, 40960),
    (error("request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it",
           type="exceed_context_size_error", n_prompt_tokens=13392, n_ctx=8192), 13392, 8192),
    (error("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens)."), 160062, 59862),
    (error("This model's maximum context length is 512 tokens. However, you requested 256 output tokens and your "
           "prompt contains at least 257 input tokens, for a total of at least 513 tokens.", param="input_tokens"),
     None, 512),
    (error("the request exceeds the available context size"), None, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "n_tokens", "limit"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_recognised(text: str, n_tokens: int | None, limit: int | None) -> None:
    """OpenAI, vLLM, SGLang, llama.cpp: with their numbers; "at least" is none, so their words are quoted then."""
    refusal = Refusal(400, text)
    found = refusal.to_error("m", 256)
    assert isinstance(found, ContextLengthExceeded)
    assert not refusal.asks_for_max_completion_tokens
    if n_tokens is not None:
        assert f"the prompt is {n_tokens} tokens and max_tokens asks for 256 more" in str(found)
        assert f"at most {limit};" in str(found)
    else:
        assert "its server says: " in str(found)
        assert (f"reads at most {limit} tokens" in str(found)) is (limit is not None)


@pytest.mark.parametrize(
    ("status", "text", "kind", "says"),
    [
        (401, error("Incorrect API key provided: sk-12***34"), BackendError, "DEMUR_SAMPLER__API_KEY"),
        (404, error("The model `x` does not exist", code="model_not_found"), BackendError, "DEMUR_SAMPLER__MODEL"),
        (404, json.dumps({"detail": "Not Found"}), BackendError, "DEMUR_SAMPLER__BASE_URLS"),
        (404, "<html>not found</html>", BackendError, "DEMUR_SAMPLER__BASE_URLS"),
        (400, error("Conversation roles must alternate user/assistant"), ValidationFailed, "/messages"),
        (400, error("something else"), BackendError, "something else"),
        (418, "<html>teapot</html>", BackendError, r"refused the request \(418\)"),
    ],
)
def test_other_refusals_name_what_to_mend(status: int, text: str, kind: type[Exception], says: str) -> None:
    """A setting, or the messages; no page of HTML and no part of a key is quoted."""
    found = Refusal(status, text).to_error("x", 256)
    assert type(found) is kind
    assert says.replace("\\", "") in str(found)
    assert "sk-12" not in str(found)
    assert "<html" not in str(found)


def test_a_missing_endpoint_is_not_a_missing_model() -> None:
    """Only the former is worth another path; a base model without a template has no chat either."""
    template = (
        "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template"
    )
    assert Refusal(404, '{"detail": "Not Found"}').has_no_such_endpoint
    assert Refusal(405, "Method Not Allowed").has_no_such_endpoint
    assert Refusal(400, error(template)).has_no_such_endpoint
    assert not Refusal(404, error("The model `x` does not exist")).has_no_such_endpoint
    assert not Refusal(400, error("bad")).has_no_such_endpoint


def test_the_newer_name_of_max_tokens_is_understood() -> None:
    """OpenAI's reasoning models say which field they want."""
    text = error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", param="max_tokens")
    assert Refusal(400, text).asks_for_max_completion_tokens
