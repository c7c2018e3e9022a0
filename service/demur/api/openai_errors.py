"""Errors as OpenAI's clients read them, on the paths that speak to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field
from starlette._utils import get_route_path
from starlette.types import Scope

OPENAI_PATHS = ("/v1/chat/completions", "/v1/models")

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAIErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = Field(description="The field that is wrong, where there is one.")
    code: str | None = Field(description="The slug of the problem: `/problems/{code}` says more.")


class OpenAIError(BaseModel):
    """What went wrong, as OpenAI's clients expect it."""

    error: OpenAIErrorBody


def is_openai_path(scope: Scope) -> bool:
    return get_route_path(scope) in OPENAI_PATHS


def openai_status(status: int) -> int:
    """What is wrong with a request is 400 there: clients catch that, and know no 422."""
    return 400 if status == 422 else status


def openai_error(status: int, slug: str, message: str, pointers: list[dict[str, str]] | None) -> dict[str, Any]:
    param = _param(pointers[0]["pointer"]) if pointers else None
    return {"error": {"message": message, "type": error_type(status), "param": param, "code": slug}}


def told_error(status: int, slug: str, message: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """In the words of the language model's server, as far as it has any."""
    param, code = told.get("param"), told.get("code")
    return {
        "error": {
            "message": message,
            "type": error_type(status),
            "param": param if isinstance(param, str) else None,
            "code": code if isinstance(code, str) else slug,
        }
    }


def error_type(status: int) -> str:
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")


def _param(pointer: str) -> str | None:
    """`/messages/0/content` is `messages[0].content` there."""
    dotted = re.sub(r"/(\d+)(?=/|$)", r"[\1]", pointer).replace("/", ".").removeprefix(".")
    return dotted or None
