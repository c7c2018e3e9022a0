"""The service with vLLM in its process, from setting to response; in bfloat16, as on a GPU."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import httpx2
import pytest
import torch
from pydantic import SecretStr

from demur.settings import SamplerSettings, Settings
from demur.types import Message
from tests.conformance.samplers import Reference
from tests.conformance.vllm_engines import CPU, MAX_NUM_SEQS, MODEL
from tests.service.running import Process, serve_process, wait_for

QUESTION = "What is the capital of France?"
QUESTIONS = [
    f"What is the {what} of {place}?" for what in ("capital", "currency") for place in ("Peru", "Laos", "Chad")
]
ARGUMENTS = {"dtype": "bfloat16", "enforce_eager": True, "max_num_seqs": MAX_NUM_SEQS}
SETTINGS = {"DEMUR_SAMPLER__BACKEND": "vllm", "DEMUR_VLLM__ARGS": json.dumps(ARGUMENTS), "DEMUR_NLI__THREADS": "1"}

needs_vllm = [pytest.mark.vllm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    with serve_process(**CPU, **SETTINGS) as process:
        yield process


@pytest.fixture(scope="module")
def client(process: Process) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=process.url, timeout=120) as client:
        yield client


def figure(client: httpx2.Client, name: str) -> float:
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return sum(map(float, found))


class TestService:
    pytestmark = needs_vllm

    def test_it_answers_a_question_with_every_number(self, client: httpx2.Client) -> None:
        """On one engine's answers: nothing that a server may lack is missing."""
        answer = client.post("/v1/answer", json={"prompt": QUESTION, "sampling": {"seed": 1}}).json()
        assert answer["model"] == "demur-facts"
        assert answer["sampling"]["completed"] == 10
        assert answer["answer"]
        assert answer["token_confidence"]["source"] == "raw"
        assert answer["uncertainty"]["predictive_entropy"] > 0
        assert answer["uncertainty"]["semantic_entropy_weighted"] is not None
        assert answer["degraded"] == []  # the profile of the bundled model speaks, whatever draws from it

    def test_logprobs_are_those_of_the_model(self, client: httpx2.Client) -> None:
        """Same prompts and tokens in transformers, in bfloat16: 99 in 100 within .1, as kernels differ (.07 seen)."""
        differences = sorted(difference for question in QUESTIONS for difference in _differences(client, question))
        assert len(differences) > 200
        assert differences[int(0.99 * len(differences))] <= 0.1

    def test_a_prompt_that_is_too_long_is_a_problem(self, client: httpx2.Client) -> None:
        """With the numbers."""
        refused = client.post("/v1/answer", json={"prompt": "word " * 3000})
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/context-length-exceeded")
        assert "at most 2048" in refused.json()["detail"]

    def test_a_caller_that_leaves_frees_the_engine(self, client: httpx2.Client) -> None:
        """As the engine's own gauges say, which stand in /metrics."""
        before = figure(client, "vllm:request_success_total")
        body = {"prompt": QUESTION, "sampling": {"n": 32}}
        for _ in range(8):
            with pytest.raises(httpx2.ReadTimeout):
                client.post("/v1/answer", json=body, timeout=httpx2.Timeout(30, read=0.005))
        wait_for(lambda: figure(client, "demur_inflight_requests") == 0, "the requests to end")
        gauges = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        wait_for(lambda: all(figure(client, name) == 0 for name in gauges), "the engine to be idle")
        assert figure(client, "vllm:request_success_total") - before < 8 * 33

    def test_a_dead_engine_ends_the_service(self, process: Process, client: httpx2.Client) -> None:
        """503 for who finds it dead; then the service stops, to be started again, and leaves no process behind."""
        started = _descendants(process.popen.pid)
        (engine,) = [pid for pid in started if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(engine, signal.SIGKILL)
        refused = client.post("/v1/answer", json={"prompt": QUESTION})
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/backend-unavailable")
        wait_for(lambda: process.popen.poll() is not None, "the service to end")
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), "its processes to end")


def _descendants(pid: int) -> list[int]:
    """Processes that it has started, from whichever thread, and those that these have started."""
    lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for child in itertools.chain(*lists)]
    return [*children, *itertools.chain(*map(_descendants, children))]


def _differences(client: httpx2.Client, question: str) -> list[float]:
    """Between the logprobs of an answer's samples, and those of a forward pass over the same tokens."""
    body = {"prompt": question, "sampling": {"seed": 3}, "include": ["samples", "token_logprobs"]}
    answer = client.post("/v1/answer", json=body).json()
    reference = _reference()
    found = []
    for sample in [answer["greedy"], *answer["samples"]]:
        expected = reference.logprobs([Message("user", question)], tuple(t["token"] for t in sample["tokens"]))
        drawn = [token["logprob"] for token in sample["tokens"]]
        found += [abs(one - other) for one, other in zip(drawn, expected, strict=True)]
    return found


@cache
def _reference() -> Reference:
    return Reference.load(MODEL, dtype=torch.bfloat16)


# --- settings: no engine is needed -----------------------------------------------------------------------------------


def test_arguments_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment, as everywhere."""
    monkeypatch.setenv("DEMUR_SAMPLER__BACKEND", "vllm")
    monkeypatch.setenv("DEMUR_VLLM__ARGS", '{"gpu_memory_utilization": 0.8, "tensor_parallel_size": 2}')
    settings = Settings(_env_file=None)
    assert settings.sampler.backend == "vllm"
    assert settings.vllm.args == {"gpu_memory_utilization": 0.8, "tensor_parallel_size": 2}
    assert settings.vllm.max_model_len == 4096


def test_the_salt_secret_is_masked() -> None:
    assert "pepper" not in str(SamplerSettings(cache_salt_secret=SecretStr("pepper")))
