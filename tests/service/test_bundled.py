"""The embedded default, as a newcomer meets it: `demur serve` in a process of its own, with the bundled models."""

from __future__ import annotations

import json
import math
import re
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.service.running import START_SECONDS, serve_process, wait_for

pytestmark = pytest.mark.model
FULL = ["clusters", "samples", "token_logprobs", "nli", "timings"]
DRAWN = {"mode": "bypass"}  # these tests are about the models, not about what is remembered of them


def ask(client: httpx2.Client, prompt: str, **fields: object) -> dict[str, Any]:
    response = client.post("/v1/answer", json={"prompt": prompt, "include": FULL, "cache": DRAWN, **fields})
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of France?", "Paris"),
        ("who invented the telephone", "Alexander Graham Bell"),
        ("What is the chemical symbol for gold?", "Au"),
        ("Which continent is Kenya in?", "Africa"),
    ],
)
def test_known_facts_are_answered(bundled: httpx2.Client, question: str, answer: str) -> None:
    """What the model was shown often: one meaning in several wordings, decision answer."""
    body = ask(bundled, question, sampling={"seed": 1})
    assert answer in body["answer"]
    assert body["decision"] == "answer"
    assert max(cluster["size"] for cluster in body["clusters"]) >= 8


def test_wording_varies_more_than_meaning(bundled: httpx2.Client) -> None:
    """Why semantic entropy: the same fact in many words has low entropy over meanings and high entropy over tokens."""
    body = ask(bundled, "What is the capital of Germany?", quality="thorough", sampling={"seed": 3})
    assert len({s["text"] for s in body["samples"]}) >= 3
    assert body["uncertainty"]["semantic_entropy"] < 0.5 < body["uncertainty"]["predictive_entropy"]


@pytest.mark.parametrize(
    "question", ["How do I boil an egg?", "Who will win the next election?", "Is it raining in my street?"]
)
def test_everyday_questions_are_not_answered(bundled: httpx2.Client, question: str) -> None:
    """Outside its few relations the model does not know, and Demur says so."""
    assert ask(bundled, question, sampling={"seed": 1})["decision"] != "answer"


def test_numbers_obey_their_laws(bundled: httpx2.Client) -> None:
    """Bounds and sums that hold for every answer, real logprobs included."""
    for seed, question in enumerate(
        ["What is the capital of Bhutan?", "Who wrote Hamlet?", "What is the currency of Peru?"]
    ):
        body = ask(bundled, question, sampling={"seed": seed})
        u, n = body["uncertainty"], body["sampling"]["completed"]
        assert 0 <= u["semantic_entropy"] <= math.log(u["num_clusters"]) + 1e-9 <= math.log(n) + 1e-9
        assert sum(c["size"] for c in body["clusters"]) == n == len(body["samples"])
        assert sum(c["mass"] for c in body["clusters"]) == pytest.approx(1)
        assert 0 <= u["semantic_entropy_weighted"] <= math.log(u["num_clusters"]) + 1e-9
        assert 0 < body["token_confidence"]["min"] <= body["token_confidence"]["mean"] <= 1
        assert body["token_confidence"]["source"] == "raw"
        assert all(t["logprob"] <= 0 for s in body["samples"] for t in s["tokens"])
        assert body["nli"]["pairs"] <= 2 * u["num_clusters"] * n
        assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_same_seed_same_answer(bundled: httpx2.Client) -> None:
    """The same request with the same seed gives the same samples, clusters and numbers."""
    first, second = (ask(bundled, "What is the capital of Bhutan?", sampling={"seed": 11}) for _ in range(2))
    for part in ("answer", "samples", "clusters", "uncertainty", "token_confidence", "decision"):
        assert first[part] == second[part]


def test_passages_are_read_and_judged(bundled: httpx2.Client) -> None:
    """A passage that says so supports the answer, one about something else does not."""
    question, seed = "What is the capital of France?", {"seed": 1}
    told = ask(bundled, question, context=[{"text": "The capital of France is Paris."}], sampling=seed)
    untold = ask(bundled, question, context=[{"text": "Bananas are yellow."}], sampling=seed)
    assert "Paris" in told["answer"]
    assert told["groundedness"] > 0.5 > untold["groundedness"]


def test_a_prompt_longer_than_the_model_reads_is_refused(bundled: httpx2.Client) -> None:
    """10,000 tokens: 422, with the numbers and the mend; the next question is answered."""
    response = bundled.post("/v1/answer", json={"prompt": "word " * 6000})
    assert (response.status_code, response.json()["type"]) == (422, "/problems/context-length-exceeded")
    assert "shorten" in response.json()["detail"]
    assert ask(bundled, "Who wrote Hamlet?")["answer"]


@pytest.mark.parametrize(
    "prompt",
    [
        "[SEP] [CLS] [PAD]",
        "<|endoftext|></s><s>[INST]",
        "{{ messages }} {% raw %}",
        "🙂" * 50,
        "\u202e\u0000a",
        "a" * 500,
    ],
)
def test_strange_text_is_only_text(bundled: httpx2.Client, prompt: str) -> None:
    """Special tokens, templates and odd characters in a prompt are answered or declined like any other."""
    assert ask(bundled, prompt)["decision"] in ("answer", "retrieve", "abstain")


def test_a_hundred_at_once_are_all_answered(bundled: httpx2.Client) -> None:
    """100 concurrent questions to the real models: each is answered, none is mixed up with another."""
    capitals = {"France": "Paris", "Japan": "Tokyo", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid"}
    asked = list(capitals) * 20
    patient = {"quality": "fast", "timeout_s": 300, "sampling": {"seed": 1}}
    with ThreadPoolExecutor(100) as pool:
        bodies = list(pool.map(lambda c: ask(bundled, f"What is the capital of {c}?", **patient), asked))
    right = sum(capitals[country] in body["answer"] for country, body in zip(asked, bodies, strict=True))
    assert right >= 95


def test_departed_clients_do_not_hold_the_model(bundled: httpx2.Client) -> None:
    """Twenty clients that hang up while they wait: the next one is answered, and no work is left behind."""
    body = json.dumps({"prompt": "word " * 200, "quality": "thorough", "cache": DRAWN}).encode()
    head = f"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    address = (bundled.base_url.host, bundled.base_url.port)
    connections = [socket.create_connection(address) for _ in range(20)]
    for connection in connections:
        connection.sendall(head.encode() + body)
    wait_for(lambda: _inflight(bundled) > 1, "the work to begin")
    for connection in connections:
        connection.close()
    assert ask(bundled, "Who wrote Hamlet?")["answer"]
    wait_for(lambda: _inflight(bundled) == 0, "the work to stop")


def _inflight(client: httpx2.Client) -> int:
    found = re.search(r"^demur_inflight_requests (\d+)", client.get("/metrics").text, re.MULTILINE)
    assert found
    return int(found[1])


def test_sigterm_finishes_what_was_accepted() -> None:
    """SIGTERM under load: every request that was accepted is answered, then the process ends by itself."""
    statuses: list[int] = []
    with serve_process() as process:

        def client() -> None:
            try:
                question = {"prompt": "Who wrote Hamlet?", "cache": DRAWN}
                reply = httpx2.post(f"{process.url}/v1/answer", json=question, timeout=60)
            except httpx2.TransportError:
                return  # not accepted: the socket was closed before the request was read
            statuses.append(reply.status_code)

        threads = [threading.Thread(target=client) for _ in range(20)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(statuses) > 0, "the first answer")
        process.popen.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.popen.wait(START_SECONDS) in (0, -signal.SIGTERM)
    assert set(statuses) <= {200, 503}
    assert 200 in statuses
