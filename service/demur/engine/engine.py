"""The pipeline: draw, judge, choose, ground, measure, decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter

import anyio

from demur.calibration.profile import ProfileKey
from demur.calibration.signals import read_signals, token_signals
from demur.engine.admission import Admission
from demur.engine.answer_id import answer_id
from demur.engine.calibrating import Calibration, Reading, Served
from demur.engine.choosing import Choice, choose
from demur.engine.drawing import Draw, draw, draw_greedy
from demur.engine.events import Begun, Listener
from demur.engine.judging import Judge, Meanings
from demur.engine.measuring import gives_no_answer, measure, reservations, view_clusters
from demur.engine.partitioning import Partition, partitioned
from demur.engine.prompting import PromptTemplate
from demur.engine.recording import record
from demur.engine.stopping import EarlyStop
from demur.entailment.groundedness import Groundedness
from demur.entailment.pair_memo import PairMemo
from demur.errors import BackendError, DeadlineExceeded, DegradedRefused, UnsupportedByBackend
from demur.estimators.consistency import agreement
from demur.estimators.token_probability import token_confidence
from demur.observability import spans, tracing
from demur.observability.metrics import Metrics
from demur.policy import decide
from demur.samplers.base import Forwarder, OnText, Sampler
from demur.settings import ClusteringSettings
from demur.types import (
    ELSEWHERE,
    Answer,
    Clustering,
    Degradation,
    Message,
    Question,
    Sample,
    Signals,
    Work,
    max_n_tokens,
)

MIN_PARTIAL_SAMPLES = 2

# Time kept back from sampling, so that a partial answer can still be clustered within the deadline.
_NLI_SHARE = 0.2
_NLI_RESERVE_SECONDS = 2.0

# The caller chose it: no reason to refuse a strict one.
_ACCEPTED_BY_STRICT = {Degradation.MODIFIED_SAMPLING, Degradation.SAMPLING_SKIPPED}

# What the next try may not meet; all else would be the same again.
_PASSING = {Degradation.DEADLINE, Degradation.NLI_UNAVAILABLE, Degradation.PARTIAL_SAMPLES}


@dataclass(frozen=True, slots=True)
class _Clock:
    """When one request began, and when it must end; `perf_counter` seconds, and the date of the beginning."""

    started: float
    deadline: float
    date: datetime

    def seconds_left(self) -> float:
        return max(0.0, self.deadline - perf_counter())


@dataclass(frozen=True, slots=True)
class _Evidence:
    """All that was found out about a question."""

    drawn: Draw
    meanings: Meanings
    choice: Choice
    grounds: Groundedness | None
    judge: Judge


class Engine:
    """Answers questions. Owns nothing: whoever built the parts closes them."""

    def __init__(
        self,
        sampler: Sampler,
        memo: PairMemo | None,
        clustering: ClusteringSettings,
        template: PromptTemplate,
        admission: Admission,
        metrics: Metrics,
        calibration: Calibration,
        *,
        overlaps: bool = False,
    ) -> None:
        self._sampler = sampler
        self._memo = memo
        self._clustering = clustering
        self._template = template
        self._admission = admission
        self._metrics = metrics
        self._overlaps = overlaps
        self._calibration = calibration

    @property
    def sampler(self) -> Sampler:
        """What draws the answers."""
        return self._sampler

    @property
    def model(self) -> str:
        return self._sampler.model

    @property
    def nli_model(self) -> str | None:
        """None where answers are compared by exact match."""
        return self._memo.model if self._memo else None

    @property
    def calibration(self) -> Calibration:
        """What turns signals into confidence and thresholds; its fingerprint tells answers of other profiles apart."""
        return self._calibration

    @property
    def is_nli_stuck(self) -> bool:
        """Whether the NLI model hangs, so that answers are compared by exact match until it comes back."""
        return self._memo is not None and self._memo.is_stuck

    @property
    def entailment(self) -> PairMemo | None:
        """What judges the answers, its memory included."""
        return self._memo

    @property
    def forwarder(self) -> Forwarder | None:
        """What hands requests on that cannot be scored; None where the language model runs in this process."""
        return self._sampler if isinstance(self._sampler, Forwarder) else None

    def place(self, timeout_seconds: float, tenant: str) -> AbstractAsyncContextManager[None]:
        """A place among the answers at work. Raises: Overloaded, Draining."""
        return self._admission.place(timeout_seconds, tenant)

    @property
    def template_digest(self) -> str:
        return self._template.digest

    def profile_key(self, answer: Answer) -> ProfileKey:
        """How it was asked, and of what. (A profile fitted under a lower `max_tokens` may speak for it, too.)"""
        served = Served(self.model, self.nli_model, has_greedy=answer.greedy is not None)
        return self._calibration.key(answer.question, served)

    @property
    def is_draining(self) -> bool:
        return self._admission.is_draining

    def drain(self) -> None:
        """Refuse new questions from now on; accepted ones are finished."""
        self._admission.drain()

    async def answer(
        self, question: Question, listener: Listener | None = None, on_text: OnText | None = None
    ) -> Answer:
        """`on_text` hears the greedy answer while it is written, where the sampler tells it.

        Raises: Overloaded, Draining, ContextLengthExceeded, BackendError, DeadlineExceeded, DegradedRefused."""
        try:
            with anyio.fail_after(question.timeout_seconds):
                answer = await self._answer(question, listener, on_text)
        except TimeoutError as error:
            raise _too_late(question) from error
        record(answer, self._metrics)
        return answer

    async def cluster(self, texts: Sequence[str], question: str, *, tenant: str, timeout_seconds: float) -> Partition:
        """Which of `texts` mean the same, as answers to `question`; without the model, or the time, by words alone.

        Raises: Overloaded, Draining.
        """
        started = perf_counter()
        judge = Judge(self._memo, self._clustering, tenant)
        async with self._admission.place(timeout_seconds, tenant):
            seconds = timeout_seconds - (perf_counter() - started)
            partition = await partitioned(texts, question, judge, seconds=max(0.0, seconds))
        for reason in partition.degraded:
            self._metrics.degraded.labels(reason.value).inc()
        return partition

    async def _answer(self, question: Question, listener: Listener | None, on_text: OnText | None) -> Answer:
        started = perf_counter()
        clock = _Clock(started, started + question.timeout_seconds, datetime.now(UTC))
        id_ = answer_id(clock.date)
        enough = anyio.CancelScope()
        stop = EarlyStop(question.sampling, enough.cancel) if question.sampling.mode == "adaptive" else None
        judge = Judge(
            self._memo, self._clustering, question.tenant, overlaps=self._overlaps, listener=listener, stop=stop
        )
        async with self._admission.place(question.timeout_seconds, question.tenant):
            admitted = perf_counter()
            if listener is not None:
                listener(Begun(id_, question.sampling.n))
            async with judge.looking_ahead(question.text, n_samples=question.sampling.n):
                drawn = await self._draw(question, judge, clock, on_text, enough)
                generated = perf_counter()
                evidence = await _judged(question, drawn, judge, clock)
        judged = perf_counter()
        work = Work(
            n_pairs=judge.n_pairs,
            n_pairs_cached=judge.n_pairs_cached,
            n_pairs_speculative=judge.n_pairs_speculative,
            nli_truncated=judge.is_truncated,
            n_samples_saved=drawn.n_saved,
            n_prompt_tokens=drawn.n_prompt_tokens,
            n_completion_tokens=drawn.n_completion_tokens,
            queue_seconds=admitted - started,
            generate_seconds=generated - admitted,
            nli_seconds=judge.hidden_seconds + judged - generated,
            nli_hidden_seconds=judge.hidden_seconds,
        )
        with tracing.span("decide") as span:
            answer = self._conclude(id_, question, evidence, work, clock)
            spans.tell_decision(span, answer)
        return answer

    async def _draw(
        self, question: Question, judge: Judge, clock: _Clock, on_text: OnText | None, enough: anyio.CancelScope
    ) -> Draw:
        rated = question.rated
        if rated is not None and rated.samples:
            return Draw(rated.samples, None, len(rated.samples), deadline_reached=False, rated=rated.answer)
        hear = judge.hear if rated is None else _heard_beside(rated.answer, judge.hear)
        reserve = min(_NLI_RESERVE_SECONDS, _NLI_SHARE * question.timeout_seconds)
        seconds = max(0.0, clock.seconds_left() - reserve)
        messages = self._template.messages(question)
        with tracing.span("generate", is_call=True) as span:
            spans.tell_request(span, self.model, messages, question.sampling)
            drawn = await self._draw_in_turn(question, messages, seconds, hear, on_text, enough)
            spans.tell_samples(span, drawn.samples, drawn.greedy, drawn.n_prompt_tokens, drawn.n_completion_tokens)
        if drawn.deadline_reached and (question.on_deadline == "error" or len(drawn.samples) < MIN_PARTIAL_SAMPLES):
            raise _too_late(question)
        if not drawn.samples and not drawn.alone:
            raise BackendError("the language model finished none of the samples")
        return replace(drawn, rated=rated.answer) if rated else drawn

    async def _draw_in_turn(
        self,
        question: Question,
        messages: Sequence[Message],
        seconds: float,
        hear: Callable[[Sample], None],
        on_text: OnText | None,
        enough: anyio.CancelScope,
    ) -> Draw:
        """All at once; in a cascade the T=0 answer first, and the samples only where it will not do."""
        sampling, begun = question.sampling, perf_counter()
        served = Served(self.model, self.nli_model, has_greedy=True)
        if not self._calibration.may_do_without_samples(question, served):
            return await draw(self._sampler, messages, sampling, seconds, hear, on_text, enough)
        first = await draw_greedy(self._sampler, messages, sampling, seconds, on_text)
        if first is not None:
            signals = token_signals(token_confidence(first))
            is_non_answer, n_tokens = gives_no_answer(first), max_n_tokens([first])
            alone = self._calibration.read_alone(
                question, served, signals, is_non_answer=is_non_answer, n_tokens=n_tokens
            )
            if alone is not None:
                return Draw((), first, sampling.n, deadline_reached=False, stopped_early=True, alone=alone)
            hear(first)
        left = max(0.0, seconds - (perf_counter() - begun))
        rest = replace(sampling, with_greedy=False)
        return replace(await draw(self._sampler, messages, rest, left, hear, None, enough), greedy=first)

    def _conclude(self, id_: str, question: Question, evidence: _Evidence, work: Work, clock: _Clock) -> Answer:
        drawn, clustering, choice = evidence.drawn, evidence.meanings.clustering, evidence.choice
        uncertainty = measure(drawn.samples, clustering, choice, question.sampling)
        tokens = token_confidence(drawn.beside or choice.sample)
        degraded = reservations(question, drawn, evidence.judge, uncertainty)
        _refuse_if_strict(question, degraded)
        read = read_signals(uncertainty, tokens, n_samples=len(drawn.samples), greedy_agrees=_greedy_agrees(evidence))
        reading = drawn.alone or self._calibration.read(
            question,
            Served(self.model, self.nli_model, has_greedy=drawn.greedy is not None),
            read,
            degraded,
            agreement=agreement(clustering, choice.semantic_id),
            is_non_answer=gives_no_answer(choice.sample),
            n_tokens=None if drawn.stopped_early else max_n_tokens(drawn.compared),
        )
        signals = _signals(question, evidence, reading)
        decision = decide(signals, reading.policy, question.retrieval)
        return Answer(
            id=id_,
            created=int(clock.date.timestamp()),
            model=ELSEWHERE if question.rated and question.rated.samples else self.model,
            nli_model=self.nli_model,
            question=question,
            text=choice.sample.text,
            chosen=choice.sample,
            decision=decision,
            policy=reading.policy,
            guarantee=reading.guarantee,
            calibration=reading.info,
            confidence=reading.confidence,
            signals=read,
            uncertainty=uncertainty,
            token_confidence=tokens,
            groundedness=signals.groundedness,
            clusters=view_clusters(drawn.samples, clustering, question.sampling),
            samples=drawn.samples,
            greedy=None if question.rated else drawn.greedy,
            greedy_cluster=None if question.rated else evidence.meanings.beside_id,
            semantic_ids=clustering.semantic_ids,
            degraded=degraded if reading.info else (*degraded, Degradation.UNCALIBRATED),
            work=work.until(perf_counter() - clock.started),
            judgements=evidence.meanings.judgements,
            chosen_cluster=choice.semantic_id,
            passage_verdicts=evidence.grounds.by_passage if evidence.grounds else (),
            contradicts_context=signals.contradicts_context,
        )


def _heard_beside(rated: Sample, hear: Callable[[Sample], None]) -> Callable[[Sample], None]:
    """What is compared with the samples is the answer that is rated; the greedy one is not needed."""
    hear(replace(rated, is_greedy=True))
    return lambda sample: None if sample.is_greedy else hear(sample)


async def _judged(question: Question, drawn: Draw, judge: Judge, clock: _Clock) -> _Evidence:
    """Each step may use most of the time that is left; the rest is for what follows it."""
    if drawn.alone and drawn.greedy:
        return _Evidence(drawn, Meanings(Clustering(()), None), Choice(drawn.greedy, None, None), None, judge)
    meanings = await judge.meanings(question.text, drawn, seconds=0.8 * clock.seconds_left())
    choice = choose(drawn.samples, meanings.clustering, drawn.beside, meanings.beside_id, question.answer_strategy)
    grounds = None
    if question.context:
        grounds = await judge.grounds(question, choice.sample.text, seconds=0.8 * clock.seconds_left())
    return _Evidence(drawn, meanings, choice, grounds, judge)


def _signals(question: Question, evidence: _Evidence, reading: Reading) -> Signals:
    grounds = evidence.grounds
    return Signals(
        n_samples=len(evidence.drawn.samples),
        confidence=reading.confidence,
        is_calibrated=reading.info is not None,
        is_non_answer=gives_no_answer(evidence.choice.sample),
        greedy_agrees=_greedy_agrees(evidence),
        groundedness=grounds.score if grounds else None,
        is_grounding_unknown=grounds is None and bool(question.context),
        contradicts_context=grounds.contradicts if grounds else False,
        deadline_reached=evidence.drawn.deadline_reached,
    )


def _greedy_agrees(evidence: _Evidence) -> bool | None:
    """Whether the answer beside the samples lies in the heaviest cluster; None where there is none (`no_greedy`), or
    nothing but it."""
    if evidence.drawn.beside is None or not evidence.drawn.samples:
        return None
    return evidence.meanings.beside_id == evidence.choice.heaviest_id


def _too_late(question: Question) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"too few samples were finished within {question.timeout_seconds:g} s; raise timeout_s, or ask for fewer or "
        "shorter samples"
    )


def _refuse_if_strict(question: Question, degraded: tuple[Degradation, ...]) -> None:
    refused = [d for d in degraded if d not in _ACCEPTED_BY_STRICT]
    if question.strict and refused:
        message = f"`strict` was set, and this answer would be degraded: {', '.join(d.value for d in refused)}"
        raise DegradedRefused(message) if _PASSING.issuperset(refused) else UnsupportedByBackend(message)
