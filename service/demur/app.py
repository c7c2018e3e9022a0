"""The one place that builds the parts and connects them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

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
from demur.backends import build_entailment, open_sampler, revisions_of
from demur.caching.answer_cache import AnswerCache
from demur.caching.caches import Caches, open_caches
from demur.calibration.profile import read_profiles
from demur.engine.admission import Admission
from demur.engine.answering import Answering
from demur.engine.calibrating import Calibration
from demur.engine.engine import Engine
from demur.engine.forwarding import Forwarding
from demur.engine.prompting import PromptTemplate
from demur.engine.reliability import Reliability
from demur.entailment.base import EntailmentModel
from demur.entailment.pair_memo import PairMemo
from demur.errors import DemurError
from demur.observability.metrics import Metrics
from demur.observability.tracing import Tracer, open_tracer
from demur.recalibration.book import ProfileBook, following
from demur.recalibration.recalibration import Recalibration
from demur.recalibration.retesting import Retesting, retesting
from demur.samplers.base import Sampler
from demur.settings import NLISettings, Settings, TracingVariables
from demur.storage.base import Store
from demur.storage.opening import open_journal, open_store
from demur.storage.redis_connection import close_redis, is_redis, open_redis
from demur.storage.sweeping import sweeping

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
