"""A corpus of hostile requests against a real server: a good answer or a clear refusal, and the service lives on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

import pytest

from demur import http_protocol
from demur.api.responses import AnswerResponse
from demur.samplers.scripted import ScriptedAnswer
from demur.settings import ServerSettings, Settings
from demur.types import Sampling
from tests.security.hostile import Hostile, corpus
from tests.service.running import Service, serving

CORPUS = corpus()


def _echo(question: str, sampling: Sampling) -> list[str | ScriptedAnswer]:
    """Say the question back, so that what is hostile in a prompt is hostile in an answer, too."""
    return ["Paris", question[:2_000], f"{question[:200]} Paris", "Lyon"]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Short times, so that whoever keeps it waiting does not keep the tests waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_protocol, "HEAD_SECONDS", 1.0)
        with serving(_echo, settings=Settings(server=ServerSettings(body_timeout_s=1.0))) as running:
            yield running


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def _send(service: Service, *parts: bytes) -> Reply:
    """The first reply to what is sent. A server may stop listening before it has heard everything."""
    host, port = service.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionError:
            pass
    return _first_reply(received)


def _first_reply(received: bytes) -> Reply:
    head, _, rest = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Reply(int(status_line.split()[1]), headers, rest[: int(headers.get("content-length", 0))])


def _is_whole(received: bytes) -> bool:
    """Head and body come in segments of their own."""
    if b"\r\n\r\n" not in received:
        return False
    reply = _first_reply(received)
    return len(reply.body) == int(reply.headers["content-length"])


def test_the_corpus_is_large_and_says_nothing_twice() -> None:
    """At least 200 requests, all different."""
    assert len({case.raw for case in CORPUS}) == len({case.name for case in CORPUS}) == len(CORPUS) >= 200


@pytest.mark.parametrize("case", CORPUS, ids=str)
def test_hostile_input_is_answered_or_refused(service: Service, case: Hostile) -> None:
    """No crash, no 5xx, each refusal a problem, no header of the sender's; the next caller is served."""
    reply = _send(service, case.raw)
    assert 200 <= reply.status < 500, (reply.status, reply.body[:500])
    if reply.status >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        if not case.raw.startswith(b"HEAD"):
            assert json.loads(reply.body)["status"] == reply.status
    elif b"/v1/answer HTTP" in case.raw[:30]:
        AnswerResponse.model_validate_json(reply.body)
    assert not {"x-injected", "x-smuggled"} & set(reply.headers)
    assert service.client.get("/livez").status_code == 200


def test_after_all_that_questions_are_answered(service: Service) -> None:
    """Nothing is left running, and nobody waits."""
    assert service.ask("q").status_code == 200
    assert service.sampler.n_running == 0


_HEAD = b"POST /v1/answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("beginning", "drop", "slug"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n", "head-too-slow"),
        (b"GET /", b"a", "head-too-slow"),
        (_HEAD + b"Content-Length: 1000\r\n\r\n", b"x", "body-too-slow"),
        (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", "body-too-slow"),
    ],
)
def test_a_slow_sender_is_cut_off(service: Service, beginning: bytes, drop: bytes, slug: str) -> None:
    """A byte now and then: the time is that of the whole head, and of the whole body, however long they go on."""
    host, port = service.url.removeprefix("http://").split(":")
    received, begun = b"", monotonic()
    with socket.create_connection((host, int(port)), timeout=0.1) as connection:
        connection.sendall(beginning)
        while not received:
            assert monotonic() < begun + 60, "still listening"
            try:
                connection.sendall(drop)
                received = connection.recv(65_536)
            except TimeoutError:
                continue
        connection.settimeout(60)
        while not _is_whole(received) and (more := connection.recv(65_536)):
            received += more
    reply = _first_reply(received)
    assert (reply.status, json.loads(reply.body)["type"]) == (408, f"/problems/{slug}")


def test_what_follows_a_body_is_bounded_and_changes_nothing() -> None:
    """Trailers: they are no headers, and an endless one is cut off, by its size and not by the time it took."""
    chunked = _HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'f\r\n{"prompt": "q"}\r\n0\r\n'
    trailers = b"X-Request-ID: trailing\r\nIdempotency-Key: a b\r\n\r\n"
    with serving(_echo, settings=Settings(server=ServerSettings(max_body_bytes=1_000, body_timeout_s=60))) as service:
        taken = _send(service, chunked + body + trailers)
        endless = _send(service, chunked + body + b"X-T: ", *[b"a" * 50_000] * 20)
    assert (taken.status, taken.headers["x-request-id"][:4]) == (200, "req_")
    assert (endless.status, json.loads(endless.body)["type"]) == (413, "/problems/body-too-large")


def test_a_silent_connection_is_closed(service: Service) -> None:
    """Connected, and not a word: it does not stay open."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        assert b"408" in connection.recv(65_536)
        assert connection.recv(1) == b""


def test_too_many_connections_are_turned_away_and_then_welcome_again() -> None:
    """The third of two: 503 as a problem; once one has left there is room."""
    with serving(_echo, settings=Settings(server=ServerSettings(max_connections=2))) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60), socket.create_connection((host, int(port))):
            reply = _send(service, b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (reply.status, json.loads(reply.body)["type"]) == (503, "/problems/overloaded")
        assert service.ask("q").status_code == 200
