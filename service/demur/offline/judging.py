"""Ask every question of a dataset, or replay what was recorded, and judge the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import anyio

from demur.clustering import exact_match
from demur.engine.calibrating import is_void
from demur.engine.engine import Engine
from demur.engine.measuring import gives_no_answer
from demur.errors import DatasetUnreadable, DemurError
from demur.evaluation.dataset import Dataset, DatasetRow
from demur.evaluation.graders import Grader, matches_exactly
from demur.evaluation.judged import Cost, Grade, JudgedAnswer, ScoreName, Stage
from demur.offline.stated import ask_confidence
from demur.samplers.base import Sampler
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.types import Answer, Question, Retrieval, Sampling

CONCURRENCY = 8
_REPLAYED_TIMEOUT_SECONDS = 600.0


@dataclass(slots=True)
class Judging:
    """What came of it. `failures` names the questions that could not be answered or judged, with the reason."""

    answers: list[JudgedAnswer] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)


def stages_of(dataset: Dataset, *, both: bool) -> list[tuple[DatasetRow, Stage]]:
    """What to ask: each question as it stands, or from memory and with its passages. Raises DatasetUnreadable."""
    if not both:
        return [(row, "with_context" if row.context else "closed_book") for row in dataset.rows]
    lacking = [row.id for row in dataset.rows if not row.context]
    if lacking:
        raise DatasetUnreadable(f"{len(lacking)} questions have no `context` to be answered from, {lacking[0]!r} first")
    stages: list[Stage] = ["closed_book", "with_context"]
    return [(row, stage) for stage in stages for row in dataset.rows]


def recorded_sampler(asked: Sequence[tuple[DatasetRow, Stage]], prompts: Sequence[str], model: str) -> ScriptedSampler:
    """Replays the answers of each question; `prompts` are the last user messages, passages included.

    Raises DatasetUnreadable: samples missing, or two questions that cannot be told apart by their prompt.
    """
    script: dict[str, list[ScriptedAnswer | str]] = {}
    for (row, stage), prompt in zip(asked, prompts, strict=True):
        answer, samples = _recorded(row, stage)
        if samples is None:
            raise DatasetUnreadable(
                f"question {row.id!r} has no recorded `{'context_' * (stage != 'closed_book')}samples`"
            )
        if prompt in script:
            raise DatasetUnreadable(f"question {row.id!r} is asked twice in the same words; keep one of the two")
        greedy = ScriptedAnswer(error="none was recorded") if answer is None else answer
        script[prompt] = [greedy, *samples]
    return ScriptedSampler(script, model=model)


def _recorded(row: DatasetRow, stage: Stage) -> tuple[str | None, list[str] | None]:
    is_first = stage == "closed_book" or row.context_samples is None
    return (row.answer, row.samples) if is_first else (row.context_answer, row.context_samples)


def question_of(row: DatasetRow, stage: Stage, base: Sampling, seed: int, timeout_seconds: float) -> Question:
    samples = _recorded(row, stage)[1]
    return Question(
        messages=row.conversation,
        context=row.passages if stage == "with_context" else (),
        sampling=replace(base, n=base.n if samples is None else len(samples), seed=seed),
        retrieval=Retrieval(available=False),
        timeout_seconds=timeout_seconds if samples is None else _REPLAYED_TIMEOUT_SECONDS,
        on_deadline="error",
    )


async def judge(
    engine: Engine,
    asked: Sequence[tuple[DatasetRow, Stage]],
    questions: Sequence[Question],
    grader: Grader,
    on_done: Callable[[], None],
    stating: Sampler | None = None,
) -> Judging:
    """All of them, a few at a time; the answers come in the order of the dataset. `stating` is asked how sure it is.

    A question that fails is named and left out: one bad answer of a server does not cost the run.
    """
    found: dict[int, JudgedAnswer] = {}
    judging = Judging()
    places = iter(range(len(asked)))

    async def work() -> None:
        for place in places:  # shared: each worker takes the next one
            (row, stage), question = asked[place], questions[place]
            try:
                one = await _judge_one(engine, row, stage, question, grader)
                found[place] = await _with_stated(stating, one, question) if stating else one
            except DemurError as error:
                judging.failures.append((row.id, str(error)))
            on_done()

    async with anyio.create_task_group() as group:
        for _ in range(CONCURRENCY):
            group.start_soon(work)
    judging.answers = [found[place] for place in sorted(found)]
    return judging


async def _judge_one(engine: Engine, row: DatasetRow, stage: Stage, question: Question, grader: Grader) -> JudgedAnswer:
    started = perf_counter()
    answer = await engine.answer(question)
    seconds = perf_counter() - started
    return JudgedAnswer(
        id=row.id,
        stage=stage,
        answer=answer.text,
        grader=grader.name,
        is_correct=await _is_correct(row, stage, question, answer.text, grader),
        is_refusal=gives_no_answer(answer.chosen),
        is_voided=is_void(answer.degraded, answer.nli_model),
        signals=answer.signals,
        scores=_scores(answer, row.stated_confidence if stage == "closed_book" else None),
        cost=Cost(answer.work.n_completion_tokens, answer.work.n_pairs, 0.0 if row.samples else seconds),
        key=engine.profile_key(answer),
        prompt_template=engine.template_digest if question.context else None,
        greedy=await _grade_of_greedy(row, stage, question, answer, grader),
    )


async def _grade_of_greedy(
    row: DatasetRow, stage: Stage, question: Question, answer: Answer, grader: Grader
) -> Grade | None:
    """None where it is the answer given, and where there is nothing to judge it by."""
    greedy = answer.greedy
    if greedy is None or answer.chosen.is_greedy or not (row.references or _is_labelled(row, stage, greedy.text)):
        return None
    if gives_no_answer(greedy):
        return Grade(is_correct=False, is_refusal=True)
    return Grade(await _is_correct(row, stage, question, greedy.text, grader), is_refusal=False)


async def _is_correct(row: DatasetRow, stage: Stage, question: Question, text: str, grader: Grader) -> bool:
    """The label of the row where it judges this answer, else the grader's verdict."""
    if row.label is not None and _is_labelled(row, stage, text):
        return row.label
    if not row.references:
        raise DatasetUnreadable("the answer given is not the one that was labelled, and there are no references")
    return await grader.is_correct(question.text, text, row.references)


def _is_labelled(row: DatasetRow, stage: Stage, text: str) -> bool:
    judged = row.answer if stage == "closed_book" or row.context_samples is None else None
    return row.label is not None and judged is not None and matches_exactly(text, [judged])


async def _with_stated(sampler: Sampler, judged: JudgedAnswer, question: Question) -> JudgedAnswer:
    """A refusal states nothing."""
    if judged.is_refusal:
        return judged
    stated, n_tokens = await ask_confidence(sampler, question.text, judged.answer)
    scores = judged.scores if stated is None else {**judged.scores, "stated_confidence": stated}
    cost = replace(judged.cost, n_completion_tokens=judged.cost.n_completion_tokens + n_tokens)
    return replace(judged, scores=scores, cost=cost)


def _scores(answer: Answer, stated: float | None) -> dict[ScoreName, float]:
    uncertainty, tokens = answer.uncertainty, answer.token_confidence
    shares = exact_match([sample.text for sample in answer.samples]).frequencies
    found: dict[ScoreName, float | None] = {
        "agreement": uncertainty.agreement,
        "semantic_entropy": _negated(uncertainty.semantic_entropy),
        "semantic_entropy_weighted": _negated(uncertainty.semantic_entropy_weighted),
        "predictive_entropy": _negated(uncertainty.predictive_entropy),
        "token_probability": tokens.mean if tokens else None,
        "least_token_probability": tokens.min if tokens else None,
        "majority_share": max(shares),
        "answer_length": -float(len(answer.text.split())),
        "stated_confidence": stated,
    }
    return {name: value for name, value in found.items() if value is not None}


def _negated(value: float | None) -> float | None:
    return None if value is None else -value
