"""Against `transformers serve`, a real server that ignores `n` and `logprobs` and refuses what it does not know."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import httpx2
import pytest

import demur
from demur.observability.metrics import Metrics
from demur.samplers.endpoints import Endpoints
from demur.samplers.openai_compatible import OpenAISampler
from demur.types import Sampling
from tests.conformance.samplers import FRANCE, PERU, draw, draw_sorted

MODEL = str(Path(demur.__file__).parent / "bundled" / "facts")
START_SECONDS = 100

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.model,
    pytest.mark.skipif(find_spec("accelerate") is None, reason="transformers serve needs accelerate"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", MODEL, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--device", "cpu", "--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline and server.poll() is None:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.TransportError:
            sleep(0.2)
    raise RuntimeError(f"transformers serve did not start (exit status {server.poll()})")


async def test_the_probe_finds_out_what_it_lacks(url: str) -> None:
    """It takes `n` and `logprobs` and gives neither; fields it does not know it refuses, all in one sentence."""
    sampler = OpenAISampler(Endpoints([url], Metrics()), model=MODEL)
    found = await sampler.probe()
    assert (found.has_n, found.has_logprobs, found.has_greedy) == (False, False, True)
    assert (found.logprob_source, sampler.api) == ("unknown", "chat")
    assert sampler.refused_fields == {"top_k", "min_p", "repetition_penalty"}
    await sampler.aclose()


@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_answers_arrive_without_scores(url: str, api: str) -> None:
    """One greedy answer and n samples, each counted, none with an invented number."""
    sampler = OpenAISampler(Endpoints([url], Metrics()), model=MODEL, api=api)  # type: ignore[arg-type]
    samples = await draw(sampler, FRANCE, Sampling(n=5, max_tokens=24, seed=3))
    assert sorted(s.index for s in samples if not s.is_greedy) == list(range(5))
    assert sum(s.is_greedy for s in samples) == 1
    assert all(s.text and s.token_logprobs is None and s.logprob_source == "unknown" for s in samples)
    assert all(s.n_prompt_tokens and s.n_completion_tokens for s in samples)
    await sampler.aclose()


async def test_the_greedy_answer_is_that_of_the_model_in_process(url: str) -> None:
    """The same weights, the same chat template."""
    from demur.samplers.local import LocalSampler

    remote = OpenAISampler(Endpoints([url], Metrics()), model=MODEL)
    local = LocalSampler.load(MODEL, n_threads=1, local_files_only=True)
    for messages in (FRANCE, PERU):
        sampling = Sampling(n=2, max_tokens=24)
        there, here = await draw_sorted(remote, messages, sampling), await draw_sorted(local, messages, sampling)
        assert there[0].text == here[0].text.strip()
        assert there[0].n_prompt_tokens == here[0].n_prompt_tokens
    await remote.aclose()
    await local.aclose()
