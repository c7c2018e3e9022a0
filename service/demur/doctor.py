"""`demur doctor`: try every part as configured, and say what is wrong and how to mend it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter
from typing import Literal

from demur.access.keyring import Keyring
from demur.backends import build_entailment, open_sampler
from demur.engine.drawing import draw
from demur.errors import DemurError, KeysUnreadable
from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.settings import BUNDLED, Settings, StoreSettings
from demur.storage.opening import open_store
from demur.types import Message, Pair, Sampling, Statement

State = Literal["ok", "warning", "failed"]

# Two statements any NLI model must tell apart: a wrong label order or a broken checkpoint shows at once.
_QUESTION = "What is the capital of France?"
_SAME = Pair(Statement("Paris.", _QUESTION), Statement("It is Paris.", _QUESTION))
_DIFFERENT = Pair(Statement("Paris.", _QUESTION), Statement("Lyon.", _QUESTION))


@dataclass(frozen=True, slots=True)
class Finding:
    state: State
    part: str
    text: str


async def examine(settings: Settings) -> list[Finding]:
    """One finding or more per part; none of them raises."""
    return [
        _packages(settings),
        *await _language_model(settings),
        *await _entailment_model(settings),
        *_pairing(settings),
        await _store(settings.store),
        _access(settings),
    ]


def _access(settings: Settings) -> Finding:
    """Who may call."""
    try:
        keyring = Keyring(settings.auth)
    except KeysUnreadable as error:
        return Finding("failed", "access", str(error))
    if not keyring.is_required:
        where = f"{settings.server.host}:{settings.server.port}"
        return Finding("ok", "access", f"no API keys: whoever reaches {where} may call; make one with `demur keys new`")
    told = "; ".join(f"{key.id}: {', '.join(sorted(key.scopes))}" for key in keyring.keys)
    return Finding("ok", "access", f"{len(keyring.keys)} API keys ({told})")


def _packages(settings: Settings) -> Finding:
    """What a model in this process needs; models on a server need nothing but the base install."""
    packages = {"local": {"torch", "transformers"}, "vllm": {"vllm"}}
    needed = packages.get(settings.sampler.backend, set())
    needed = needed | ({"torch", "sentence_transformers"} if settings.nli.backend == "cross_encoder" else set())
    missing = sorted(name for name in needed if find_spec(name) is None)
    if missing:
        extra = "vllm" if settings.sampler.backend == "vllm" else "local"
        return Finding("failed", "packages", f"missing {', '.join(missing)}: pip install 'demur[{extra}]'")
    return Finding("ok", "packages", f"all there; {os.cpu_count()} CPU cores")


async def _language_model(settings: Settings) -> list[Finding]:
    started = perf_counter()
    try:
        sampler = await open_sampler(settings, Metrics())
        loaded = perf_counter()
        drawn = await draw(sampler, [Message("user", _QUESTION)], Sampling(n=5, max_tokens=16, seed=0), seconds=120)
        await sampler.aclose()
    except (DemurError, ImportError) as error:
        return [Finding("failed", "language model", str(error))]
    took = f"loaded in {loaded - started:.1f} s, 5 answers of at most 16 tokens in {perf_counter() - loaded:.1f} s"
    findings = [Finding("ok", "language model", f"{sampler.model}: {took}")]
    if any(s.token_logprobs is None for s in drawn.samples):
        findings.append(Finding("warning", "token logprobs", "not given: token confidence will be null"))
    if settings.sampler.backend == "openai":
        findings.extend(_server(sampler))
    return findings


def _server(sampler: Sampler) -> list[Finding]:
    """What the server behind the language model can do, and what its answers will lack."""
    from demur.samplers.openai_compatible import OpenAISampler

    if not isinstance(sampler, OpenAISampler) or sampler.capabilities is None:
        return []
    found = sampler.capabilities
    told = {
        "n": "all samples in one call" if found.has_n else "ignored or refused: one call per sample",
        "seed": {True: "honoured", False: "ignored: answers cannot be repeated", None: "unknown"}[found.has_seed],
        "logprobs": found.logprob_source if found.has_logprobs else "none",
        "refused fields": ", ".join(sorted(sampler.refused_fields)) or "none",
    }
    findings = [Finding("ok", "server", f"{sampler.api}; " + "; ".join(f"{k}: {v}" for k, v in told.items()))]
    lacks = {
        "semantic_entropy_weighted, predictive_entropy and cluster mass will be null": found.logprob_source != "raw",
        "no T=0 answer: token_confidence will describe the chosen sample": not found.has_greedy,
        "two draws with different seeds were identical: does it sample?": found.varies is False,
    }
    return [*findings, *(Finding("warning", "server", text) for text, holds in lacks.items() if holds)]


async def _entailment_model(settings: Settings) -> list[Finding]:
    if settings.nli.backend == "exact":
        return [Finding("warning", "NLI model", "none: only answers equal after normalisation count as the same")]
    started = perf_counter()
    try:
        model = build_entailment(settings.nli, Metrics())
        loaded = perf_counter()
        same, different = await model.label([_SAME, _DIFFERENT])
        await model.aclose()
    except (DemurError, ImportError) as error:
        return [Finding("failed", "NLI model", str(error))]
    if same.label != "entailment" or different.label == "entailment":
        text = f"{model.model} finds {same.label} in 'It is Paris.' and {different.label} in 'Lyon.', given 'Paris.'"
        return [Finding("failed", "NLI model", text + "; check its id2label")]
    took = f"loaded in {loaded - started:.1f} s, tells 'Paris' from 'Lyon'"
    return [Finding("ok", "NLI model", f"{model.model}: {took}")]


def _pairing(settings: Settings) -> list[Finding]:
    """The bundled NLI model was trained on the bundled language model's kind of answer."""
    if settings.sampler.model == BUNDLED or settings.nli.model != BUNDLED or settings.nli.backend != "cross_encoder":
        return []
    advice = (
        "the bundled NLI model was made for the short answers of the bundled language model; for "
        f"{settings.sampler.model} set DEMUR_NLI__MODEL to a DeBERTa-v3 class model, "
        "such as MoritzLaurer/DeBERTa-v3-large-mnli-fever-anli-ling-wanli or cross-encoder/nli-deberta-v3-base"
    )
    return [Finding("warning", "pairing", advice)]


async def _store(settings: StoreSettings) -> Finding:
    """Where records go, and whether what is acknowledged there survives a crash."""
    try:
        async with open_store(settings) as store:
            health = await store.health()
    except DemurError as error:
        return Finding("failed", "store", str(error))
    states: dict[str, State] = {"ok": "ok", "filling": "warning", "not_durable": "warning", "away": "failed"}
    return Finding(states[health.state], "store", health.detail)
