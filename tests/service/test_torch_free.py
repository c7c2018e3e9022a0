"""The base install: language model and NLI model on servers, no model library in sight."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from demur.app import running_engine
from demur.observability.metrics import Metrics
from demur.samplers.scripted import ScriptedSampler
from demur.settings import NLISettings, Settings
from demur.types import Answer, Degradation, Message, Question, Sampling
from tests.conformance.openai_server import MODEL, OpenAIServer, openai_server
from tests.conformance.tei_server import Tei, refusing, serving_tei

QUESTION = "What is the capital of France?"
WITHOUT_TORCH = """
import sys
sys.modules |= dict.fromkeys(["torch", "transformers", "sentence_transformers", "tokenizers"])
from demur.cli import main
main()
"""


def demur_without_torch(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def _servers(llm: OpenAIServer, tei: Tei) -> dict[str, str]:
    return {
        "DEMUR_SAMPLER__BACKEND": "openai",
        "DEMUR_SAMPLER__MODEL": MODEL,
        "DEMUR_SAMPLER__BASE_URLS": llm.url,
        "DEMUR_NLI__BACKEND": "tei",
        "DEMUR_NLI__URL": tei.url,
    }


def test_doctor_finds_two_servers_well() -> None:
    with serving_tei() as tei, openai_server() as llm:
        done = demur_without_torch("doctor", **_servers(llm, tei))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "words: loaded in" in done.stdout
    assert "tells 'Paris' from 'Lyon'" in done.stdout


def test_ask_needs_no_model_library() -> None:
    with serving_tei() as tei, openai_server() as llm:
        done = demur_without_torch("ask", QUESTION, **_servers(llm, tei))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Meanings" in done.stdout
    assert tei.pairs


def test_doctor_says_what_the_default_lacks() -> None:
    done = demur_without_torch("doctor")
    assert done.returncode == 1
    assert "missing sentence_transformers, torch, transformers" in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_names_a_server_that_is_not_there() -> None:
    done = demur_without_torch(
        "doctor", DEMUR_NLI__BACKEND="tei", DEMUR_NLI__URL="http://127.0.0.1:9", DEMUR_SAMPLER__BACKEND="local"
    )
    assert done.returncode == 1
    assert "cannot reach the NLI server at http://127.0.0.1:9" in done.stdout


@pytest.mark.parametrize("url", ["", "tei:8080", "ftp//x"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    done = demur_without_torch("doctor", DEMUR_NLI__BACKEND="tei", DEMUR_NLI__URL=url)
    assert done.returncode == 1
    assert "DEMUR_NLI" in done.stderr


async def _answered(tei: Tei, *answers: str, n_failing: int = 0) -> Answer:
    settings = Settings(nli=NLISettings(backend="tei", url=tei.url))
    question = Question((Message("user", QUESTION),), sampling=Sampling(n=12, seed=1))
    async with running_engine(settings, Metrics(), sampler=ScriptedSampler({QUESTION: list(answers)})) as engine:
        assert engine.nli_model == "words"
        tei.faults += [refusing(424, "Inference failed")] * n_failing
        return await engine.answer(question)


@pytest.mark.anyio
async def test_an_answer_with_remote_verdicts() -> None:
    """Two wordings of one meaning, and another meaning."""
    with serving_tei() as tei:
        answer = await _answered(tei, "Paris is", "is Paris", "Paris is", "Lyon")
    meanings = [{answer.samples[i].text for i in cluster.sample_indices} for cluster in answer.clusters]
    assert meanings == [{"is Paris", "Paris is"}, {"Lyon"}]
    assert Degradation.NLI_UNAVAILABLE not in answer.degraded


@pytest.mark.anyio
async def test_a_failing_server_shows_in_the_answer() -> None:
    with serving_tei() as tei:
        answer = await _answered(tei, "Paris", "Lyon", "Nice", n_failing=50)
    assert Degradation.NLI_UNAVAILABLE in answer.degraded


def test_calls_to_servers_are_not_logged_nor_their_prompts() -> None:
    """At `debug` the openai client would log whole requests."""
    code = "from demur.observability import logging\nlogging.configure('debug', 'json')\n" + WITHOUT_TORCH
    with serving_tei() as tei, openai_server() as llm:
        command = [sys.executable, "-c", code, "ask", "the word is zebrafish", "--json"]
        environment = {**os.environ, **_servers(llm, tei)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "zebrafish" not in done.stderr
    assert "HTTP Request" not in done.stderr
