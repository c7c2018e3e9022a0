"""The one place that builds the parts and connects them."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Literal

import anyio
from anyio import to_thread
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.middleware.cors import CORSMiddleware

from demur import __version__
from demur.access.gate import Gate
from demur.access.keyring import Keyring
from demur.access.rate_limits import RateLimits
from demur.api import (
    answer,
    answers,
    audits,
    calibrations,
    chat,
    cluster,
    feedback,
    health,
    openapi,
    playground,
    policies,
    problems,
    score,
)
from demur.api.boundary import CORS, BodyLimit, RequestContext
from demur.api.idempotency import Idempotency
from demur.caching.answer_cache import AnswerCache
from demur.caching.caches import Caches, open_caches
from demur.calibration.profile import read_profiles
from demur.engine.admission import Admission
from demur.engine.answering import Answering
from demur.engine.calibrating import Calibration, Revisions
from demur.engine.engine import Engine
from demur.engine.forwarding import Forwarding
from demur.engine.prompting import PromptTemplate
from demur.engine.reliability import Reliability
from demur.entailment.base import EntailmentModel
from demur.entailment.batcher import Batcher
from demur.entailment.pair_memo import PairMemo
from demur.entailment.remote import RemoteModel
from demur.errors import BackendError, BackendUnavailable, DemurError, EntailmentUnavailable
from demur.observability.metrics import Metrics
from demur.observability.tracing import Tracer, open_tracer
from demur.recalibration.book import ProfileBook, following
from demur.recalibration.recalibration import Recalibration
from demur.recalibration.retesting import Retesting, retesting
from demur.samplers.base import Sampler
from demur.samplers.cache_salt import CacheSalt
from demur.settings import (
    BUNDLED,
    NLISettings,
    SamplerSettings,
    Settings,
    TracingVariables,
    VLLMSettings,
    bundled_path,
)
from demur.storage.base import Store
from demur.storage.opening import open_journal, open_store
from demur.storage.redis_connection import close_redis, is_redis, open_redis
from demur.storage.sweeping import sweeping

if TYPE_CHECKING:
    from demur.entailment.cross_encoder import CrossEncoderModel

logger = logging.getLogger(__name__)

# Settings that change what a model says: answers and verdicts made under others are not used again.
_SPEAKS = {"backend", "model", "revision", "api", "use_n", "logprobs"}
_JUDGES = {"backend", "model", "revision", "dtype", "max_length"}

_ASKERS_PER_PLACE = 4  # who waits for an answer that another is getting needs no place, but some memory


def create_app(
    settings: Settings | None = None,
    *,
    sampler: Sampler | None = None,
    entailment: EntailmentModel | None = None,
    tracer: Tracer | None = None,
) -> FastAPI:
    """The application. What is given replaces what the settings name; it stays the caller's to close."""
    settings = settings or Settings()
    metrics = Metrics()
    spans = tracer or open_tracer(TracingVariables(), has_text=settings.observability.log_prompts)
    keyring = Keyring(settings.auth)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with (
                open_store(settings.store) as store,
                open_caches(settings.store, metrics) as caches,
                running_engine(settings, metrics, sampler=sampler, entailment=entailment, caches=caches) as engine,
                guarding(settings, keyring, metrics) as gate,
                sweeping(store, max_age_seconds=settings.store.answer_ttl_s),
                recalibrating(app, store, engine, settings.store.answer_ttl_s),
            ):
                cache, journal = open_cache(settings, caches, engine), open_journal(store, settings, metrics)
                app.state.engine, app.state.store, app.state.gate = engine, store, gate
                app.state.idempotency = Idempotency(
                    store, settings.store.idempotency_ttl_s, max_seconds=settings.defaults.max_timeout_s
                )
                app.state.answering = Answering(engine, cache, journal, charge=gate.charge_samples)
                app.state.forwarding = Forwarding(engine, metrics, charge=gate.charge_samples)
                app.state.reliability = Reliability(metrics, engine.calibration.ids)
                await app.state.reliability.recall(store)
                metrics.ready.set(1)
                yield
                metrics.ready.set(0)
        except DemurError as error:
            app.state.failure = error  # the server's log buries it in a traceback
            raise
        finally:
            if spans is not None and tracer is None:
                await to_thread.run_sync(spans.close)

    app = FastAPI(
        title="Demur",
        version=__version__,
        summary="Answers that come with what the model knows about them.",
        lifespan=lifespan,
        root_path=settings.server.root_path,
        openapi_url=None,  # openapi.install serves it, behind the gate
        # Its own spans and logs would quote what was asked wrongly; older versions have none, and take no notice.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.settings, app.state.metrics = settings, metrics
    problems.install(app)
    app.include_router(answer.router)
    app.include_router(score.router)
    app.include_router(cluster.router)
    app.include_router(chat.router)
    app.include_router(answers.router)
    app.include_router(feedback.router)
    app.include_router(audits.router)
    app.include_router(calibrations.router)
    app.include_router(policies.router)
    app.include_router(health.router)
    if settings.server.playground:
        app.include_router(playground.router)
    openapi.install(app, settings.server.docs, is_open=not keyring.is_required)
    app.add_middleware(
        BodyLimit, max_bytes=settings.server.max_body_bytes, timeout_seconds=settings.server.body_timeout_s
    )
    if settings.server.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.server.cors_origins, **CORS)
    app.add_middleware(RequestContext, metrics=metrics, tracer=spans)
    return app


@asynccontextmanager
async def recalibrating(app: FastAPI, store: Store, engine: Engine, max_age_seconds: int) -> AsyncIterator[None]:
    """The engine's profiles follow the store, and what they promise is tested on audits."""
    book = ProfileBook(store, engine.calibration, engine.calibration.profiles)
    metrics: Metrics = app.state.metrics
    metrics.calibration_suspended.labels(engine.model).set_function(lambda: book.n_suspended)
    async with following(book):
        app.state.recalibration = Recalibration(store, book)
        app.state.retesting = Retesting(store, book, max_age_seconds=max_age_seconds)
        async with retesting(app.state.retesting):
            yield


@asynccontextmanager
async def guarding(settings: Settings, keyring: Keyring, metrics: Metrics) -> AsyncIterator[Gate]:
    """The gate, with keys that follow their file, and rates that are counted in Redis where that is the store."""
    store, redis = settings.store, None
    if keyring.is_required and store.url and is_redis(store.url.get_secret_value()):
        redis = open_redis(store.url.get_secret_value(), timeout_seconds=store.timeout_s)
    limits = RateLimits(settings.auth, metrics, redis=redis, prefix=store.prefix)
    async with anyio.create_task_group() as group:
        group.start_soon(keyring.watch)
        try:
            yield Gate(keyring, limits)
        finally:
            group.cancel_scope.cancel()
            if redis is not None:
                await close_redis(redis)


@asynccontextmanager
async def running_engine(
    settings: Settings,
    metrics: Metrics,
    *,
    sampler: Sampler | None = None,
    entailment: EntailmentModel | None = None,
    caches: Caches | None = None,
) -> AsyncIterator[Engine]:
    """An engine with its models loaded; closes those it built. Raises DemurError where a model cannot be loaded."""
    template = PromptTemplate.from_file(settings.defaults.prompt_template_file)
    admission = Admission(settings.server.max_inflight, settings.server.max_queue, metrics)
    profiles = await to_thread.run_sync(read_profiles, settings.calibration.folder)
    revisions = await to_thread.run_sync(revisions_of, settings, sampler is None, entailment is None)
    calibration = Calibration(profiles, settings.clustering, template, revisions)
    async with AsyncExitStack() as stack:
        if sampler is None:
            sampler = await open_sampler(settings, metrics)
            stack.push_async_callback(sampler.aclose)
        if entailment is None and settings.nli.backend != "exact":
            entailment = await to_thread.run_sync(build_entailment, settings.nli, metrics)
            stack.push_async_callback(entailment.aclose)
        memo = _remember_pairs(entailment, settings.nli, metrics, caches) if entailment else None
        engine = Engine(
            sampler,
            memo,
            settings.clustering,
            template,
            admission,
            metrics,
            calibration,
            overlaps=settings.overlaps,
        )
        metrics.build_info.labels(__version__).set(1)
        metrics.introduce(engine.model)
        metrics.model_info.labels("sampler", engine.model).set(1)
        metrics.model_info.labels("nli", engine.nli_model or "exact").set(1)
        yield engine


def _remember_pairs(
    entailment: EntailmentModel, settings: NLISettings, metrics: Metrics, caches: Caches | None
) -> PairMemo:
    shared = caches.pairs(f"{entailment.model} {_told(settings, _JUDGES)}") if caches else None
    return PairMemo(entailment, metrics, max_pairs=settings.pair_memo, shared=shared)


def open_cache(settings: Settings, caches: Caches, engine: Engine) -> AnswerCache:
    """What is remembered and shared of the engine's answers."""
    template = settings.defaults.prompt_template_file
    parts = [
        engine.model,
        _told(settings.sampler, _SPEAKS),
        settings.vllm.model_dump_json() if settings.sampler.backend == "vllm" else None,
        engine.nli_model,
        _told(settings.nli, _JUDGES),
        settings.clustering.model_dump_json(),
        template.read_text(encoding="utf-8") if template else None,
    ]
    fixed = json.dumps(parts)
    places = settings.server.max_inflight + settings.server.max_queue
    return caches.answers(lambda: fixed + engine.calibration.fingerprint, max_waiting=_ASKERS_PER_PLACE * places)


def _told(settings: BaseModel, names: set[str]) -> str:
    return settings.model_dump_json(include=names)


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
    return _remote_entailment(settings, metrics) if settings.backend == "tei" else _cross_encoder(settings, metrics)


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
    return Batcher(
        _load_cross_encoder(settings),
        metrics,
        max_batch_tokens=settings.max_batch_tokens,
        max_waiting_pairs=settings.max_queue_pairs,
        timeout_seconds=settings.batch_timeout_s,
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


def _hide_progress_bars() -> None:
    """The bundled models load in a blink: bars would only bury what follows them."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
