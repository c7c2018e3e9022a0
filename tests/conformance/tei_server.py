"""A text-embeddings-inference server for tests: its routes, limits, error bodies and truncation, over a real socket.

The model behind it needs no weights: a premise entails as much of a hypothesis as it holds of its tokens, and a little
depends on every token, so that a lost one shows. What TEI does was read from its source (release 1.9): labels sorted by
score, float32 scores, one place of `max_concurrent_requests` per input, texts cut at the end of the longer one, offsets
in bytes. No TEI binary was at hand to compare with.
"""

from __future__ import annotations

import asyncio
import math
import struct
import threading
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tokenizers import Encoding

from tests.service.running import START_SECONDS, wait_for
from tests.unit.entailment.classifiers import bert_tokenizer

PAYLOAD_LIMIT_BYTES = 2_000_000
_CHARACTERS_PER_TOKEN = 250

Fault = Callable[[Request], Awaitable[Response]]


@dataclass
class Tei:
    """`faults` answer the next calls of /predict, in order; `batches` are the sizes of all others."""

    labels: tuple[str, ...] = ("contradiction", "entailment", "neutral")
    model_id: str = "/data/words"
    model_type: str = "classifier"
    api_key: str | None = None
    max_input_length: int = 128
    max_client_batch_size: int = 32
    told_batch_size: int | None = None
    max_concurrent_requests: int = 512
    too_many_status: int = 422
    seconds: float = 0.0
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)
    n_tokenized: int = 0
    n_places: int = 0
    most_places: int = 0
    n_hung_up: int = 0

    def __post_init__(self) -> None:
        self._reading = bert_tokenizer()
        self._counting = bert_tokenizer()
        self._reading.enable_truncation(self.max_input_length, strategy="longest_first", direction="right")

    def app(self) -> Starlette:
        routes = [Route("/info", self.info), *(Route(f"/{p.__name__}", p, methods=["POST"]) for p in self._posts)]
        return Starlette(routes=routes)

    @property
    def _posts(self) -> list[Callable[[Request], Awaitable[Response]]]:
        return [self.predict, self.tokenize]

    async def info(self, request: Request) -> Response:
        if refused := self._unauthorized(request):
            return refused
        names = {str(i): label for i, label in enumerate(self.labels)}
        kind = {"id2label": names, "label2id": {v: int(k) for k, v in names.items()}}
        return JSONResponse(
            {
                "model_id": self.model_id,
                "model_sha": None,
                "model_dtype": "float32",
                "served_model_name": self.model_id,
                "model_type": {self.model_type: kind},
                "max_concurrent_requests": self.max_concurrent_requests,
                "max_input_length": self.max_input_length,
                "max_batch_tokens": 16384,
                "max_batch_requests": None,
                "max_client_batch_size": self.told_batch_size or self.max_client_batch_size,
                "auto_truncate": True,
                "tokenization_workers": 1,
                "version": "1.9.3",
                "sha": None,
                "docker_label": None,
            }
        )

    async def predict(self, request: Request) -> Response:
        self.traceparents.append(request.headers.get("traceparent", ""))
        if self.faults:
            return await self.faults.pop(0)(request)
        body = await request.body()
        if refused := self._unauthorized(request) or self._refused(body, inputs := (await request.json())["inputs"]):
            return refused
        body_json = await request.json()
        assert body_json["truncate"] is True
        assert body_json["raw_scores"] is False
        if self.model_type != "classifier":
            return _error(424, "Model is not a classifier model", "Backend")
        if self.n_places + len(inputs) > self.max_concurrent_requests:
            return _error(429, "Model is overloaded", "Overloaded")
        self.batches.append(len(inputs))
        self.pairs += [(a, b) for a, b in inputs]
        with self._places(len(inputs)):
            await asyncio.sleep(self.seconds)
        return JSONResponse([self._scores(a, b) for a, b in inputs])

    async def tokenize(self, request: Request) -> Response:
        body = await request.body()
        asked = await request.json()
        if refused := self._unauthorized(request) or self._refused(body, inputs := asked["inputs"]):
            return refused
        if any(len(text) > self.max_input_length * _CHARACTERS_PER_TOKEN for text in inputs):
            return _error(422, "`inputs` must have less characters", "Validation")
        self.n_tokenized += len(inputs)
        return JSONResponse([self._tokens(text, asked["add_special_tokens"]) for text in inputs])

    def _unauthorized(self, request: Request) -> Response | None:
        is_known = self.api_key is None or request.headers.get("authorization") == f"Bearer {self.api_key}"
        return None if is_known else Response(status_code=401)

    def _refused(self, body: bytes, inputs: Sequence[Any]) -> Response | None:
        if len(body) > PAYLOAD_LIMIT_BYTES:
            return Response("length limit exceeded", 413, media_type="text/plain")
        if len(inputs) > self.max_client_batch_size:
            said = f"batch size {len(inputs)} > maximum allowed batch size {self.max_client_batch_size}"
            return _error(self.too_many_status, said, "Validation")
        if not all(map("".join, inputs)):
            return _error(400, "`inputs` cannot be empty", "Empty")
        return None

    @contextmanager
    def _places(self, n: int) -> Iterator[None]:
        self.n_places += n
        self.most_places = max(self.most_places, self.n_places)
        try:
            yield
        finally:
            self.n_places -= n

    def _scores(self, premise: str, hypothesis: str) -> list[dict[str, Any]]:
        encoding = self._reading.encode(premise, hypothesis)
        slope = 20 * (
            _share_of_tokens(encoding) - 0.83
        )  # the capital of France: 0.92 of "It is Paris.", 0.73 of "Lyon."
        logits = {"entailment": slope, "neutral": 0.5 + _trace(encoding), "contradiction": -slope}
        known = {label: logits.get(label.lower(), 0.5) for label in self.labels}
        total = math.fsum(map(math.exp, known.values()))
        scores = [{"score": _float32(math.exp(x) / total), "label": label} for label, x in known.items()]
        return sorted(scores, key=lambda s: s["score"], reverse=True)

    def _tokens(self, text: str, with_special: bool) -> list[dict[str, Any]]:
        encoding = self._counting.encode(text, add_special_tokens=with_special)
        return [
            {
                "id": token,
                "text": text[start:stop],
                "special": bool(special),
                "start": None if special else len(text[:start].encode()),
                "stop": None if special else len(text[:stop].encode()),
            }
            for token, (start, stop), special in zip(
                encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True
            )
        ]

    async def hang(self, request: Request) -> Response:
        """Never answers; counts the client that gives up."""
        await request.body()
        while not await request.is_disconnected():  # noqa: ASYNC110 - a disconnection sets no event
            await asyncio.sleep(0.01)
        self.n_hung_up += 1
        return Response(status_code=499)


def _share_of_tokens(encoding: Encoding) -> float:
    sides: tuple[set[int], set[int]] = (set(), set())
    for token, side in zip(encoding.ids, encoding.sequence_ids, strict=True):
        if side is not None:
            sides[side].add(token)
    return len(sides[0] & sides[1]) / max(1, len(sides[1]))


def _trace(encoding: Encoding) -> float:
    """In [0, 0.1), by all tokens the model reads."""
    return zlib.crc32(repr(encoding.ids).encode()) / 2**32 / 10


def _float32(number: float) -> float:
    found: float = struct.unpack("f", struct.pack("f", number))[0]
    return found


def _error(status: int, said: str, kind: str) -> Response:
    return JSONResponse({"error": said, "error_type": kind}, status)


def refusing(status: int, said: str = "", kind: str = "Backend", **headers: str) -> Fault:
    async def answer(_: Request) -> Response:
        response = _error(status, said, kind)
        response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        return response

    return answer


def saying(content: str, media_type: str) -> Fault:
    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return answer


async def dropping(request: Request) -> Response:
    """Announces more than it sends, and closes the connection."""
    await request.body()
    return Response(b'[[{"score"', headers={"content-length": "4096"})


@contextmanager
def serving_tei(tei: Tei | None = None) -> Iterator[Tei]:
    tei = tei or Tei()
    server = uvicorn.Server(uvicorn.Config(tei.app(), port=0, log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the TEI test server to listen")
        tei.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        yield tei
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
