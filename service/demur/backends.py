"""The models that the settings name: what answers, what judges, and which weights they have."""

from __future__ import annotations

import gc
import hashlib
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from anyio import to_thread

from demur.engine.calibrating import Revisions
from demur.entailment.base import EntailmentModel
from demur.entailment.batcher import Batcher
from demur.entailment.remote import RemoteModel
from demur.errors import BackendError, BackendUnavailable, EntailmentUnavailable
from demur.model_thread import shared_thread
from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.samplers.cache_salt import CacheSalt
from demur.settings import BUNDLED, NLISettings, SamplerSettings, Settings, VLLMSettings, bundled_path

if TYPE_CHECKING:
    from demur.entailment.cross_encoder import CrossEncoderModel

logger = logging.getLogger(__name__)


def revisions_of(settings: Settings, is_own_sampler: bool = True, is_own_nli: bool = True) -> Revisions:
    """Which weights answer, and which judge: a digest of bundled ones, the revision of others where one was named."""
    return Revisions(
        model=_revision("facts", settings.sampler) if is_own_sampler else None,
        nli=_revision("nli", settings.nli) if is_own_nli and settings.nli.backend == "cross_encoder" else None,
    )


def _revision(role: Literal["facts", "nli"], settings: SamplerSettings | NLISettings) -> str | None:
    if settings.model != BUNDLED:
        return settings.revision
    with (bundled_path(role) / "model.safetensors").open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()[:16]


async def open_sampler(settings: Settings, metrics: Metrics) -> Sampler:
    """The sampler that the settings name, ready to draw. Raises: BackendError."""
    if settings.sampler.backend == "openai":
        return await _connect_sampler(settings.sampler, metrics)
    if settings.sampler.backend == "vllm":
        metrics.include_engine()
        return await to_thread.run_sync(_start_vllm, settings.sampler, settings.vllm)
    return await to_thread.run_sync(build_sampler, settings.sampler)


async def _connect_sampler(settings: SamplerSettings, metrics: Metrics) -> Sampler:
    """A server that is not there yet does not keep ours from starting: the first question probes it then.

    The imports are here because the client is slow to import.
    """
    from demur.samplers.endpoints import Endpoints
    from demur.samplers.openai_compatible import OpenAISampler

    endpoints = Endpoints(
        [str(url).rstrip("/") for url in settings.base_urls],
        metrics,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        timeout_seconds=settings.timeout_s,
        n_retries=settings.retries,
        concurrency=settings.concurrency,
    )
    sampler = OpenAISampler(
        endpoints,
        model=settings.model,
        api=settings.api,
        use_n=settings.use_n,
        logprobs=settings.logprobs,
        salt=_cache_salt(settings),
    )
    try:
        await sampler.probe()
    except BackendUnavailable as error:
        logger.warning("%s; asking again with the first question", error)
    except BackendError:
        await sampler.aclose()
        raise
    return sampler


def build_sampler(settings: SamplerSettings) -> Sampler:
    """Load the language model of the backend `local`; blocks. The import is here because it brings torch."""
    from demur.samplers.local import LocalSampler

    with _collecting_no_garbage():
        if settings.model == BUNDLED:
            _hide_progress_bars()
            return LocalSampler.load(str(bundled_path("facts")), name="demur-facts", n_threads=settings.threads)
        return LocalSampler.load(settings.model, revision=settings.revision, n_threads=settings.threads)


def _start_vllm(settings: SamplerSettings, engine: VLLMSettings) -> Sampler:
    """The import is here because it brings torch."""
    from demur.samplers.vllm import VLLMSampler

    is_bundled = settings.model == BUNDLED
    return VLLMSampler.load(
        str(bundled_path("facts")) if is_bundled else settings.model,
        name="demur-facts" if is_bundled else None,
        revision=settings.revision,
        max_model_len=engine.max_model_len,
        arguments=engine.args,
        salt=_cache_salt(settings),
        on_death=_stop_serving,
    )


def _cache_salt(settings: SamplerSettings) -> CacheSalt:
    secret = settings.cache_salt_secret
    return CacheSalt(secret.get_secret_value() if secret else None)


def _stop_serving() -> None:
    """Whoever runs the service starts it again: what was accepted is finished first, as with any SIGTERM."""
    signal.raise_signal(signal.SIGTERM)


def build_entailment(settings: NLISettings, metrics: Metrics) -> EntailmentModel:
    """Load the NLI model behind its batcher, or meet the server that has one; blocks."""
    if settings.backend == "tei":
        return _remote_entailment(settings, metrics)
    with _collecting_no_garbage():
        return _cross_encoder(settings, metrics)


def _remote_entailment(settings: NLISettings, metrics: Metrics) -> RemoteModel:
    return RemoteModel.connect(
        str(settings.url),
        metrics,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        max_length=settings.max_length,
        max_inflight_pairs=settings.max_queue_pairs,
        timeout_seconds=settings.batch_timeout_s,
    )


def _cross_encoder(settings: NLISettings, metrics: Metrics) -> EntailmentModel:
    thread = shared_thread()
    return Batcher(
        thread.run(lambda: _load_cross_encoder(settings)),
        metrics,
        max_batch_tokens=settings.max_batch_tokens,
        max_waiting_pairs=settings.max_queue_pairs,
        timeout_seconds=settings.batch_timeout_s,
        thread=thread,
    )


def _load_cross_encoder(settings: NLISettings) -> CrossEncoderModel:
    """The import is here because it brings torch. Raises: EntailmentUnavailable."""
    is_bundled = settings.model == BUNDLED
    try:
        from demur.entailment.cross_encoder import CrossEncoderModel

        if is_bundled:
            _hide_progress_bars()
        return CrossEncoderModel.load(
            bundled_path("nli") if is_bundled else settings.model,
            revision=settings.revision,
            max_length=settings.max_length,
            dtype=settings.dtype,
            n_threads=settings.threads,
            name="demur-nli" if is_bundled else None,
        )
    except (ImportError, OSError, ValueError) as error:  # no package, no such checkpoint, labels that mean nothing
        raise EntailmentUnavailable(f"cannot load the NLI model {settings.model}: {error}") from error


@contextmanager
def _collecting_no_garbage() -> Iterator[None]:
    """What importing and loading models makes is there to stay: a quarter of that time would go into looking for
    garbage in it, and every full collection later on into looking again (.3 s in which nothing is served)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _hide_progress_bars() -> None:
    """The bundled models load in a blink: bars would only bury what follows them."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
