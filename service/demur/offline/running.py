"""Load what the settings name, and judge a dataset with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from demur.app import running_engine
from demur.backends import open_sampler
from demur.engine.engine import Engine
from demur.engine.prompting import PromptTemplate
from demur.errors import EntailmentUnavailable
from demur.evaluation.dataset import Dataset
from demur.evaluation.graders import ExactGrader, Grader, NLIGrader
from demur.evaluation.judged import JudgedAnswer
from demur.observability.metrics import Metrics
from demur.offline.asking import Asking
from demur.offline.judging import judge, question_of, recorded_sampler, stages_of
from demur.offline.llm_grader import LLMGrader
from demur.settings import JudgeSettings, Settings
from demur.types import Sampling
from demur.usage import SettingOrUsageError


@dataclass(frozen=True, slots=True)
class Done:
    """What was judged, by what; `failures` are ids with reasons."""

    answers: Sequence[JudgedAnswer]
    failures: Sequence[tuple[str, str]]
    model: str
    nli_model: str | None
    grader: str


async def run(
    dataset: Dataset, settings: Settings, grader: str, asking: Asking, on_done: Callable[[int], None]
) -> Done:
    """`on_done` gets the number of all questions, each time that one is through."""
    asked = stages_of(dataset, both=asking.both_stages)
    base = Sampling(asking.n, asking.temperature, max_tokens=asking.max_tokens)
    questions = [
        question_of(row, stage, base, asking.seed + place, settings.defaults.max_timeout_s)
        for place, (row, stage) in enumerate(asked)
    ]
    sampler = None
    if dataset.is_recorded:
        if asking.asks_confidence:
            raise SettingOrUsageError(
                "recorded answers are replayed, nobody is asked: give `stated_confidence` in rows"
            )
        template = PromptTemplate.from_file(settings.defaults.prompt_template_file)
        prompts = [next(m.content for m in reversed(template.messages(q)) if m.role == "user") for q in questions]
        sampler = recorded_sampler(asked, prompts, asking.model or "recorded")
    async with (
        running_engine(settings, Metrics(), sampler=sampler) as engine,
        grading(grader, settings, engine) as chosen,
    ):
        stating = engine.sampler if asking.asks_confidence else None
        judging = await judge(engine, asked, questions, chosen, lambda: on_done(len(asked)), stating)
        return Done(judging.answers, judging.failures, engine.model, engine.nli_model, chosen.name)


@asynccontextmanager
async def grading(name: str, settings: Settings, engine: Engine) -> AsyncIterator[Grader]:
    """The grader of that name, with a model of its own where the settings name one (DEMUR_JUDGE__...)."""
    if name == "exact":
        yield ExactGrader()
    elif name == "nli":
        if engine.entailment is None:
            raise EntailmentUnavailable("the grader nli needs an NLI model; DEMUR_NLI__BACKEND is `exact`")
        yield NLIGrader(engine.entailment)
    elif settings.judge == JudgeSettings():
        raise SettingOrUsageError(
            "the grader llm needs a model to judge, better not the one that answers: set DEMUR_JUDGE__MODEL, and "
            "DEMUR_JUDGE__BACKEND and DEMUR_JUDGE__BASE_URLS as for DEMUR_SAMPLER"
        )
    else:
        judge_model = await open_sampler(settings.model_copy(update={"sampler": settings.judge}), Metrics())
        try:
            yield LLMGrader(judge_model)
        finally:
            await judge_model.aclose()
