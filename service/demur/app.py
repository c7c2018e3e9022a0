"""The one place that builds the parts and connects them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from demur import __version__
from demur.api import answer, health, problems
from demur.api.boundary import BodyLimit, RequestContext
from demur.engine.admission import Admission
from demur.engine.engine import Engine
from demur.engine.prompting import PromptTemplate
from demur.entailment.base import EntailmentModel
from demur.entailment.batcher import Batcher
from demur.entailment.pair_memo import PairMemo
from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.settings import BUNDLED, NLISettings, SamplerSettings, Settings, bundled_path


def create_app(
    settings: Settings | None = None, *, sampler: Sampler | None = None, entailment: EntailmentModel | None = None
) -> FastAPI:
    """The application. `sampler` and `entailment` replace what the settings name; they stay the caller's to close."""
    settings = settings or Settings()
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_engine(settings, metrics, sampler=sampler, entailment=entailment) as engine:
            app.state.engine = engine
            metrics.ready.set(1)
            yield
            metrics.ready.set(0)

    app = FastAPI(
        title="Demur",
        version=__version__,
        summary="Answers that come with what the model knows about them.",
        lifespan=lifespan,
        root_path=settings.server.root_path,
    )
    app.state.settings, app.state.metrics = settings, metrics
    problems.install(app)
    app.include_router(answer.router)
    app.include_router(health.router)
    app.add_middleware(BodyLimit, max_bytes=settings.server.max_body_bytes)
    app.add_middleware(RequestContext, metrics=metrics)
    return app


@asynccontextmanager
async def running_engine(
    settings: Settings,
    metrics: Metrics,
    *,
    sampler: Sampler | None = None,
    entailment: EntailmentModel | None = None,
) -> AsyncIterator[Engine]:
    """An engine with its models loaded; closes those it built. Raises DemurError where a model cannot be loaded."""
    template = PromptTemplate.from_file(settings.defaults.prompt_template_file)
    admission = Admission(settings.server.max_inflight, settings.server.max_queue, metrics)
    async with AsyncExitStack() as stack:
        if sampler is None:
            sampler = await to_thread.run_sync(build_sampler, settings.sampler)
            stack.push_async_callback(sampler.aclose)
        if entailment is None and settings.nli.backend != "exact":
            entailment = await to_thread.run_sync(build_entailment, settings.nli, metrics)
            stack.push_async_callback(entailment.aclose)
        memo = PairMemo(entailment, metrics, max_pairs=settings.nli.pair_memo) if entailment else None
        engine = Engine(sampler, memo, settings.clustering, template, admission, metrics)
        metrics.build_info.labels(__version__).set(1)
        metrics.model_info.labels("sampler", engine.model).set(1)
        metrics.model_info.labels("nli", engine.nli_model or "exact").set(1)
        yield engine


def build_sampler(settings: SamplerSettings) -> Sampler:
    """Load the language model; blocks. The import is here because it brings torch."""
    from demur.samplers.local import LocalSampler

    if settings.model == BUNDLED:
        return LocalSampler.load(str(bundled_path("facts")), name="demur-facts", n_threads=settings.threads)
    return LocalSampler.load(settings.model, revision=settings.revision, n_threads=settings.threads)


def build_entailment(settings: NLISettings, metrics: Metrics) -> EntailmentModel:
    """Load the NLI model behind its batcher; blocks. The import is here because it brings torch."""
    from demur.entailment.cross_encoder import CrossEncoderModel

    is_bundled = settings.model == BUNDLED
    classifier = CrossEncoderModel.load(
        bundled_path("nli") if is_bundled else settings.model,
        revision=settings.revision,
        max_length=settings.max_length,
        dtype=settings.dtype,
        n_threads=settings.threads,
        name="demur-nli" if is_bundled else None,
    )
    return Batcher(
        classifier,
        metrics,
        max_batch_tokens=settings.max_batch_tokens,
        max_waiting_pairs=settings.max_queue_pairs,
        timeout_seconds=settings.batch_timeout_s,
    )
