"""A completion of the test server in chunks, as vLLM sends them; or broken off in one of the ways that are seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Literal

Streams = Literal["honoured", "refused", "dropped", "unfinished", "told", "hang", "garbled"]
_PIECE_CHARS = 3


def chunks_of(completion: dict[str, Any], *, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Choice after choice: its role or thought, its text piece by piece with a token's logprob each, its end; usage."""
    head = {name: completion[name] for name in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    for choice in completion["choices"]:
        is_chat = "message" in choice
        for part in _chat_parts(choice) if is_chat else _text_parts(choice):
            yield head | {"choices": [{"index": choice["index"], "finish_reason": None, **part}]}
    if include_usage:
        yield head | {"choices": [], "usage": completion["usage"]}


def _chat_parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message, rows = choice["message"], (choice["logprobs"] or {}).get("content", [])
    yield {"delta": {"role": "assistant", "content": ""}}
    if "reasoning" in message:
        yield {"delta": {"reasoning": message["reasoning"]}}
    if "tool_calls" in message:
        yield {"delta": {"tool_calls": [{"index": i, **call} for i, call in enumerate(message["tool_calls"])]}}
    for piece, row in zip_longest(_pieces(message["content"] or ""), rows):
        yield {"delta": {"content": piece or ""}, "logprobs": {"content": [row]} if row else None}
    yield {"delta": {}, "finish_reason": choice["finish_reason"]}


def _text_parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    rows = choice["logprobs"] or {"tokens": []}
    for place, (piece, token) in enumerate(zip_longest(_pieces(choice["text"]), rows["tokens"])):
        one = {name: values[place : place + 1] for name, values in rows.items()} if token is not None else None
        yield {"text": piece or "", "logprobs": one}
    yield {"text": "", "finish_reason": choice["finish_reason"]}


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE_CHARS] for at in range(0, len(text), _PIECE_CHARS)]


async def send_stream(send: Any, receive: Any, chunks: list[dict[str, Any]], how: Streams) -> None:
    """All of it, or half of it and then what `how` says. True where the client left while it hung."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    whole = how == "honoured"
    for chunk in chunks if whole else chunks[: len(chunks) // 2]:
        await _send(send, json.dumps(chunk))
    if how == "told":
        await _send(send, json.dumps({"error": {"message": "CUDA out of memory", "type": "server_error"}}))
    elif how == "garbled":
        await _send(send, '{"choices": [')
    elif how == "dropped":
        raise ConnectionError("the server drops the connection")
    elif how == "hang":
        while (await receive())["type"] != "http.disconnect":
            continue
    if whole:
        await _send(send, "[DONE]")
    await send({"type": "http.response.body", "body": b""})


async def _send(send: Any, data: str) -> None:
    await send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})
