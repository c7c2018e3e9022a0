"""A small OpenAI-compatible server on loopback: draws from a language of a few words, misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import math
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Literal

import uvicorn

from tests.conformance.openai_streams import Streams, chunks_of, send_stream

MODEL = "tiny-remote"
END = "<|end|>"
CONTEXT_LENGTH = 4096
_CITIES: Mapping[str, Mapping[str, float]] = {
    "": {"It": 0.5, "Paris": 0.3, "Lyon": 0.2},
    "It": {" is": 0.9, "'s": 0.1},
    " is": {" Paris": 0.7, " Lyon": 0.3},
    "'s": {" Paris": 0.6, " Lyon": 0.4},
    " Paris": {END: 0.6, ", of": 0.4},
    " Lyon": {END: 0.9, ", of": 0.1},
    "Paris": {END: 0.7, ", of": 0.3},
    "Lyon": {END: 0.8, ", of": 0.2},
    ", of": {" course": 0.95, " France": 0.05},
    " course": {END: 1.0},
    " France": {END: 1.0},
}
_WORDS = {f" {word}": 0.5**k for k, word in enumerate(["elm", "oak", "ash", "fir", "yew", "box", "bay", "fig"], 1)}

Fault = Literal[
    "hang", "drop", "html", "half_json", "half_utf8", "error", "busy", "forbidden", "no_choices", "filtered"
]


@dataclass(frozen=True)
class Behaviour:
    """The default is a good server: `n` honoured, raw logprobs, END among the tokens, as vLLM does it."""

    n: Literal["honoured", "ignored", "refused", "capped"] = "honoured"
    logprobs: Literal["raw", "processed", "omitted", "refused"] = "raw"
    wrong_logprob: float | None = math.inf  # replaces the second token's; inf: nothing is replaced
    seed: Literal["honoured", "ignored"] = "honoured"
    refuses: tuple[str, ...] = ()  # fields answered with a 422 that lists them
    fixed_temperature: bool = False  # any other than 1 is refused, as OpenAI's reasoning models do
    thinks: Literal["", "in_content", "apart"] = ""
    chat: bool = True
    streams: Streams = "honoured"
    fault: Fault | None = None
    n_faults: int = 10**9  # requests that get the fault before the others are served
    retry_after: str | None = None
    delay_seconds: float = 0.02


@dataclass
class OpenAIServer:
    """An ASGI application. `bodies` are the requests seen; `n_disconnected` those whose client left while it hung."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)
    n_hanging: int = 0
    n_disconnected: int = 0
    url: str = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.paths.append(scope["path"])
        self.keys.append(dict(scope["headers"]).get(b"authorization", b"").decode())
        self.traceparents.append(dict(scope["headers"]).get(b"traceparent", b"").decode())
        body = json.loads(await _read(receive))
        self.bodies.append(body)
        if self.behaviour.fault and self.behaviour.n_faults >= len(self.bodies):
            await self._misbehave(self.behaviour.fault, receive, send)
            return
        await asyncio.sleep(self.behaviour.delay_seconds)
        status, answer = self._answer(scope["path"], body)
        if status == 200 and body.get("stream"):
            await self._stream(answer, body, receive, send)
        else:
            await _respond(send, status, json.dumps(answer).encode())

    async def _stream(self, answer: dict[str, Any], body: dict[str, Any], receive: Any, send: Any) -> None:
        how = self.behaviour.streams
        wants_usage = (body.get("stream_options") or {}).get("include_usage", False)
        self.n_hanging += how == "hang"
        await send_stream(send, receive, list(chunks_of(answer, include_usage=wants_usage)), how)
        self.n_disconnected += how == "hang"

    async def _misbehave(self, fault: Fault, receive: Any, send: Any) -> None:
        whole = json.dumps(_completion([_choice(0, "Paris", "stop", [])], 9, 1), ensure_ascii=False).encode()
        wait = [(b"retry-after", self.behaviour.retry_after.encode())] if self.behaviour.retry_after else []
        if fault == "hang":
            self.n_hanging += 1
            while (await receive())["type"] != "http.disconnect":
                continue
            self.n_disconnected += 1
        elif fault == "drop":
            await _start(send, 200, [(b"content-length", b"1000")])
            await send({"type": "http.response.body", "body": whole[:40], "more_body": True})
            raise ConnectionError("the server drops the connection")
        elif fault == "busy":
            await _respond(send, 429, json.dumps({"error": {"message": "slow down"}}).encode(), wait)
        else:
            answers = {
                "html": (200, b"<html><body>Welcome to nginx!</body></html>"),
                "half_json": (200, whole[: len(whole) // 2]),
                "half_utf8": (200, whole.replace(b"Paris", "Orléans".encode()[:4])),
                "error": (500, b"Internal Server Error"),
                "forbidden": (401, b'{"error": {"message": "Incorrect API key provided: sk-12***34"}}'),
                "no_choices": (200, b'{"choices": []}'),
                "filtered": (200, whole.replace(b'"stop"', b'"content_filter"')),
            }
            await _respond(send, *answers[fault])

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        is_chat = path.endswith("/chat/completions")
        if is_chat and not self.behaviour.chat:
            return 404, {"detail": "Not Found"}
        if refusal := self._refusal(body):
            return refusal
        prompt = str(body["messages"][-1]["content"]) if is_chat else body["prompt"]
        texts = [str(m["content"]) for m in body["messages"]] if is_chat else [prompt]
        n_prompt = sum(4 + len(text.split()) for text in texts)
        max_tokens = body.get("max_completion_tokens", body.get("max_tokens", 16))
        if n_prompt + max_tokens > CONTEXT_LENGTH:
            return 400, _too_long(n_prompt, max_tokens)
        n = {"ignored": 1, "capped": min(3, body.get("n", 1))}.get(self.behaviour.n, body.get("n", 1))
        drawn = [self._draw(prompt, body, child, max_tokens) for child in range(n)]
        choices = [self._to_choice(i, drawing, body, is_chat) for i, drawing in enumerate(drawn)]
        return 200, _completion(choices, n_prompt, sum(len(d.tokens) for d in drawn))

    def _refusal(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        behaviour = self.behaviour
        if unexpected := sorted(set(behaviour.refuses) & body.keys()):
            return 422, {"detail": f"Unexpected fields in the request: {set(unexpected)}"}
        if behaviour.streams == "refused" and body.get("stream"):
            return 400, _error("Streaming is not supported.", "stream")
        if behaviour.n == "refused" and body.get("n", 1) > 1:
            return 400, _error("Only one completion choice is allowed", None)
        if behaviour.logprobs == "refused" and "logprobs" in body:
            return 400, _error("This model does not support 'logprobs'.", "logprobs")
        if behaviour.fixed_temperature and body.get("temperature", 1) != 1:
            return 400, _error("Unsupported value: only the default (1) is supported.", "temperature")
        return None

    def _draw(self, prompt: str, body: dict[str, Any], child: int, max_tokens: int) -> _Drawing:
        seed = body.get("seed") if self.behaviour.seed == "honoured" else None
        source = random.Random() if seed is None else random.Random(seed + child)
        is_question, temperature = "?" in prompt or "capital" in prompt, body.get("temperature", 1.0)
        drawing = _Drawing(_thought(self.behaviour))
        while drawing.text is None:
            state = drawing.state
            raw = _CITIES[state] if is_question else _WORDS
            tempered = _tempered(raw, temperature)
            token = source.choices(list(tempered), list(tempered.values()))[0]
            shown = tempered if self.behaviour.logprobs == "processed" else raw
            drawing.add(token, {t: _log(p) for t, p in _normalised(shown).items()}, body.get("stop") or [], max_tokens)
        return drawing

    def _to_choice(self, index: int, drawing: _Drawing, body: dict[str, Any], is_chat: bool) -> dict[str, Any]:
        logprobs = list(drawing.logprobs)
        if self.behaviour.wrong_logprob != math.inf and len(logprobs) > 1:
            logprobs[1:2] = [self.behaviour.wrong_logprob]  # type: ignore[list-item]
        n_top = body.get("top_logprobs" if is_chat else "logprobs", 0)
        rows = list(zip(drawing.tokens, logprobs, (_top(t, n_top) for t in drawing.tops), strict=True))
        wants = bool(body.get("logprobs")) and self.behaviour.logprobs != "omitted"
        text = drawing.text or ""
        if not is_chat:
            return _text_choice(index, text, drawing.finish_reason, rows if wants else [])
        if self.behaviour.thinks == "in_content":
            text = f"<think>Which city?</think>\n\n{text}"
        choice = _choice(index, text, drawing.finish_reason, rows if wants else [])
        if self.behaviour.thinks == "apart":
            choice["message"]["reasoning"] = "Which city?"
        return _calling(choice, body["tools"][0]["function"]["name"]) if body.get("tools") else choice


@dataclass
class _Drawing:
    """Tokens drawn so far, the thought first. `text` is there once the drawing is over."""

    thought: list[str]
    tokens: list[str] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    tops: list[dict[str, float]] = field(default_factory=list)
    text: str | None = None
    finish_reason: str = "stop"

    def __post_init__(self) -> None:
        self.tokens, self.logprobs = list(self.thought), [-0.5] * len(self.thought)
        self.tops = [{token: -0.5, "Hm": -3.0} for token in self.thought]

    @property
    def answer(self) -> list[str]:
        return self.tokens[len(self.thought) :]

    @property
    def state(self) -> str:
        return self.answer[-1] if self.answer else ""

    def add(self, token: str, logprobs: dict[str, float], stop: list[str], max_tokens: int) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprobs[token])
        self.tops.append(logprobs)
        text = "".join(t for t in self.answer if t != END)
        cuts = [at for at in map(text.find, stop) if at >= 0]
        if cuts or token == END or len(self.answer) >= max_tokens:
            self.text = text[: min(cuts)] if cuts else text
            self.finish_reason = "stop" if cuts or token == END else "length"


def _thought(behaviour: Behaviour) -> list[str]:
    return ["<think>", "Which", " city?", "</think>", "\n\n"] if behaviour.thinks else []


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    return {token: w / sum(weights.values()) for token, w in weights.items()}


def _tempered(weights: Mapping[str, float], temperature: float) -> dict[str, float]:
    if temperature == 0:
        best = max(weights, key=lambda token: weights[token])
        return {token: float(token == best) for token in weights}
    return _normalised({token: w ** (1 / temperature) for token, w in weights.items()})


def _log(p: float) -> float:
    return math.log(p) if p > 0 else -9999.0


def _top(logprobs: dict[str, float], n: int) -> dict[str, float]:
    return dict(sorted(logprobs.items(), key=lambda item: -item[1])[:n])


def _choice(
    index: int, text: str, finish_reason: str, rows: list[tuple[str, float, dict[str, float]]]
) -> dict[str, Any]:
    content = [
        {
            "token": token,
            "logprob": logprob,
            "bytes": list(token.encode()),
            "top_logprobs": [{"token": t, "logprob": p, "bytes": list(t.encode())} for t, p in top.items()],
        }
        for token, logprob, top in rows
    ]
    return {
        "index": index,
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": content} if rows else None,
        "finish_reason": finish_reason,
    }


def _calling(choice: dict[str, Any], tool: str) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return choice | {"message": message, "finish_reason": "tool_calls"}


def _text_choice(
    index: int, text: str, finish_reason: str, rows: list[tuple[str, float, dict[str, float]]]
) -> dict[str, Any]:
    logprobs = {
        "tokens": [token for token, _, _ in rows],
        "token_logprobs": [logprob for _, logprob, _ in rows],
        "top_logprobs": [top for _, _, top in rows],
        "text_offset": [0] * len(rows),
    }
    return {"index": index, "text": text, "logprobs": logprobs if rows else None, "finish_reason": finish_reason}


def _completion(choices: list[dict[str, Any]], n_prompt: int, n_completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": n_prompt, "completion_tokens": n_completion, "total_tokens": n_prompt + n_completion}
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": choices,
        "usage": usage,
    }


def _error(message: str, param: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def _too_long(n_prompt: int, max_tokens: int) -> dict[str, Any]:
    message = (
        f"This model's maximum context length is {CONTEXT_LENGTH} tokens. However, you requested "
        f"{n_prompt + max_tokens} tokens ({n_prompt} in the messages, {max_tokens} in the completion). Please reduce "
        "the length of the messages or completion."
    )
    return _error(message, "messages")


async def _read(receive: Any) -> bytes:
    parts = []
    while True:
        event = await receive()
        parts.append(event.get("body", b""))
        if not event.get("more_body"):
            return b"".join(parts)


async def _start(send: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    types = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": types + headers})


async def _respond(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await _start(send, status, [(b"content-length", str(len(body)).encode()), *(headers or [])])
    await send({"type": "http.response.body", "body": body})


@contextmanager
def openai_server(behaviour: Behaviour | None = None) -> Iterator[OpenAIServer]:
    """A real uvicorn server in a thread of its own; leaving ends it, and drops who is still connected."""
    app = OpenAIServer(behaviour or Behaviour())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = monotonic() + 30
        while not server.started:
            if monotonic() > deadline:
                raise TimeoutError("the server did not start")
            sleep(0.005)
        app.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
        yield app
    finally:
        server.should_exit = True
        thread.join(30)
