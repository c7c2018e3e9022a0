"""What a server's 4xx means: which field it does not know, a prompt that is too long, or a wrong setting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from demur.errors import BackendError, ContextLengthExceeded, DemurError, FieldError, RefusedByBackend, ValidationFailed

_TOO_LONG = re.compile(
    r"context[_ ]length|context size|context window|exceed_context_size|maximum allowed length"
    r"|prompt is too long|input is too long|longer than the model"
)
# Wordings of OpenAI and older vLLM, newer vLLM, SGLang and llama.cpp; a number that is a mere lower bound ("at
# least") is not read.
_PROMPT_TOKENS = re.compile(
    r"\((\d+) in the (?:messages|prompt)|resulted in (\d+) tokens|contains (\d+) input tokens"
    r"|input (?:length )?\((\d+) tokens\)|request \((\d+) tokens\)|(\d+) tokens from the input",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"maximum context length (?:is|of) (\d+)|context (?:length|size) \((\d+) tokens\)|maximum allowed length \((\d+)",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"chat[_ ]template|\broles?\b", re.IGNORECASE)

# How servers refuse a field without naming it.
_PARAPHRASES = {"n": "completion choice"}


class Refusal(Exception):
    """A 4xx answer that repeating will not change. `text` is the body, decoded as far as it can be."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:300]}")
        self.status = status
        self.text = text

    @property
    def body(self) -> Any:
        """The JSON object that tells of the error, however deep it lies; {} where there is none."""
        try:
            parsed = json.loads(self.text)
        except ValueError:
            return {}
        error = parsed.get("error", parsed) if isinstance(parsed, dict) else {}
        return error if isinstance(error, dict) else {"message": error}

    @property
    def message(self) -> str:
        """The server's own words, in one line of at most 300 characters; empty for a page of HTML."""
        found = self.body.get("message") or self.body.get("detail") or ("" if "<" in self.text[:100] else self.text)
        return " ".join(str(found).split())[:300]

    def named_fields(self, sent: Iterable[str]) -> frozenset[str]:
        """Those of the fields we sent that the server complains about, by `param` or in its message."""
        param = self.body.get("param")
        said = param if isinstance(param, str) and param in set(sent) else self.text
        return frozenset(name for name in sent if _names(said, name))

    @property
    def asks_for_max_completion_tokens(self) -> bool:
        """OpenAI's newer name of `max_tokens`, which its reasoning models insist upon."""
        return "max_completion_tokens" in self.text and not self.is_too_long

    @property
    def is_too_long(self) -> bool:
        told = f"{self.body.get('code')} {self.body.get('type')} {self.message}".lower()
        return self.status in (400, 413, 422) and _TOO_LONG.search(told) is not None

    @property
    def has_no_such_endpoint(self) -> bool:
        """The path is unknown, or a base model has no chat template to serve it with."""
        is_unknown_path = self.status in (404, 405, 501) and not self._is_about_the_model
        lacks_template = self.status == 400 and "chat template" in self.message and "must provide" in self.message
        return is_unknown_path or lacks_template

    @property
    def _is_about_the_model(self) -> bool:
        return "model" in f"{self.body.get('code')} {self.message}".lower()

    def to_error(self, model: str, max_tokens: int) -> DemurError:
        """The error to raise where no other way of asking is left."""
        if self.status in (401, 403):
            return BackendError(f"the language model's server refuses the key ({self.status}): DEMUR_SAMPLER__API_KEY")
        if self.is_too_long:
            return self._context_length_exceeded(max_tokens)
        if self.status == 404 and self._is_about_the_model:
            return BackendError(f"the server does not know {model} (DEMUR_SAMPLER__MODEL): {self.message}")
        if self.has_no_such_endpoint:
            return BackendError("no completions there: does DEMUR_SAMPLER__BASE_URLS end in the server's /v1 path?")
        if self.status in (400, 422) and _TEMPLATE.search(self.message):
            detail = f"the model's server refuses these messages: {self.message}"
            return ValidationFailed(FieldError("/messages", detail))
        return BackendError(f"the language model's server refused the request ({self.status}): {self.message}")

    def to_forwarded(self, model: str) -> DemurError:
        """The error to raise where the request was the caller's own: what is wrong is told as the server did."""
        if self.status in (400, 413, 415, 422):
            said = self.message or f"the language model's server refused the request ({self.status})"
            return RefusedByBackend(said, status=self.status, told=self.body)
        return self.to_error(model, 0)

    def _context_length_exceeded(self, max_tokens: int) -> ContextLengthExceeded:
        """llama.cpp gives the numbers as fields, the others in words."""
        n_tokens = self.body.get("n_prompt_tokens", _number(_PROMPT_TOKENS, self.message))
        limit = self.body.get("n_ctx", _number(_LIMIT, self.message))
        return ContextLengthExceeded(n_tokens=n_tokens, max_tokens=max_tokens, limit=limit, said=self.message)


def _names(text: str, field: str) -> bool:
    paraphrase = _PARAPHRASES.get(field)
    return re.search(rf"(?<!\w){field}(?!\w)", text) is not None or (paraphrase is not None and paraphrase in text)


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return int(next(group for group in found.groups() if group)) if found else None
