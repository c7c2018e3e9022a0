"""The pipeline: draw, judge, choose, ground, measure, decide."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import anyio

from demur.calibration.profile import ProfileKey
from demur.calibration.signals import read_signals
from demur.engine.admission import Admission
from demur.engine.answer_id import answer_id
from demur.engine.calibrating import Calibration, Reading, Served
from demur.engine.choosing import Choice, choose
from demur.engine.drawing import Draw, draw
from demur.engine.events import Begun, Listener
from demur.engine.judging import Judge, Meanings
from demur.engine.measuring import gives_no_answer, measure, reservations, view_clusters
from demur.engine.prompting import PromptTemplate
from demur.engine.recording import record
from demur.engine.stopping import EarlyStop
from demur.entailment.groundedness import Groundedness
from demur.entailment.pair_memo import PairMemo
from demur.errors import BackendError, DeadlineExceeded, DegradedRefused, UnsupportedByBackend
from demur.estimators.token_probability import token_confidence
from demur.observability.metrics import Metrics
from demur.policy import decide
from demur.samplers.base import Sampler
from demur.settings import ClusteringSettings
from demur.types import Answer, Degradation, Question, Signals, Work

MIN_PARTIAL_SAMPLES = 2

# Time kept back from sampling, so that a partial answer can still be clustered within the deadline.
_NLI_SHARE = 0.2
_NLI_RESERVE_SECONDS = 2.0

# The caller chose it: no reason to refuse a strict one.
_ACCEPTED_BY_STRICT = {Degradation.MODIFIED_SAMPLING}

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
    def model(self) -> str:
        return self._sampler.model

    @property
    def nli_model(self) -> str | None:
        """None where answers are compared by exact match."""
        return self._memo.model if self._memo else None

    @property
    def calibration_fingerprint(self) -> str:
        """Changes with the calibration profiles, and so with what is answered to the same samples."""
        return self._calibration.fingerprint

    @property
    def is_nli_stuck(self) -> bool:
        """Whether the NLI model hangs, so that answers are compared by exact match until it comes back."""
        return self._memo is not None and self._memo.is_stuck

    @property
    def entailment(self) -> PairMemo | None:
        """What judges the answers, its memory included."""
        return self._memo

    @property
    def template_digest(self) -> str:
        return self._template.digest

    def profile_key(self, answer: Answer) -> ProfileKey:
        """The key of the profile that speaks, or would speak, for such an answer."""
        served = Served(self.model, self.nli_model, has_greedy=answer.greedy is not None)
        return self._calibration.key(answer.question, served)

    @property
    def is_draining(self) -> bool:
        return self._admission.is_draining

    def drain(self) -> None:
        """Refuse new questions from now on; accepted ones are finished."""
        self._admission.drain()

    async def answer(self, question: Question, listener: Listener | None = None) -> Answer:
        """Raises: Overloaded, Draining, ContextLengthExceeded, BackendError, DeadlineExceeded, DegradedRefused."""
        try:
            with anyio.fail_after(question.timeout_seconds):
                answer = await self._answer(question, listener)
        except TimeoutError as error:
            raise _too_late(question) from error
        record(answer, self._metrics)
        return answer

    async def _answer(self, question: Question, listener: Listener | None) -> Answer:
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
                drawn = await self._draw(question, judge, clock, enough)
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
        return self._conclude(id_, question, evidence, work, clock)

    async def _draw(self, question: Question, judge: Judge, clock: _Clock, enough: anyio.CancelScope) -> Draw:
        reserve = min(_NLI_RESERVE_SECONDS, _NLI_SHARE * question.timeout_seconds)
        seconds = max(0.0, clock.seconds_left() - reserve)
        messages = self._template.messages(question)
        drawn = await draw(self._sampler, messages, question.sampling, seconds, judge.hear, enough)
        if drawn.deadline_reached and (question.on_deadline == "error" or len(drawn.samples) < MIN_PARTIAL_SAMPLES):
            raise _too_late(question)
        if not drawn.samples:
            raise BackendError("the language model finished none of the samples")
        return drawn

    def _conclude(self, id_: str, question: Question, evidence: _Evidence, work: Work, clock: _Clock) -> Answer:
        drawn, clustering, choice = evidence.drawn, evidence.meanings.clustering, evidence.choice
        uncertainty = measure(drawn.samples, clustering, choice, question.sampling)
        tokens = token_confidence(drawn.greedy or choice.sample)
        degraded = reservations(question, drawn, evidence.judge, uncertainty)
        _refuse_if_strict(question, degraded)
        read = read_signals(uncertainty, tokens, n_samples=len(drawn.samples), greedy_agrees=_greedy_agrees(evidence))
        reading = self._calibration.read(
            question,
            Served(self.model, self.nli_model, has_greedy=drawn.greedy is not None),
            read,
            degraded,
            agreement=uncertainty.agreement,
            is_non_answer=gives_no_answer(choice.sample),
        )
        signals = _signals(question, evidence, reading)
        decision = decide(signals, reading.policy, question.retrieval)
        return Answer(
            id=id_,
            created=int(clock.date.timestamp()),
            model=self.model,
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
            greedy=drawn.greedy,
            greedy_cluster=evidence.meanings.greedy_id,
            semantic_ids=clustering.semantic_ids,
            degraded=degraded if reading.info else (*degraded, Degradation.UNCALIBRATED),
            work=work.until(perf_counter() - clock.started),
            judgements=evidence.meanings.judgements,
        )


async def _judged(question: Question, drawn: Draw, judge: Judge, clock: _Clock) -> _Evidence:
    """Each step may use most of the time that is left; the rest is for what follows it."""
    meanings = await judge.meanings(question.text, drawn, seconds=0.8 * clock.seconds_left())
    choice = choose(drawn.samples, meanings.clustering, drawn.greedy, meanings.greedy_id, question.answer_strategy)
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
    """Whether the greedy answer lies in the heaviest cluster; None where none was drawn (`no_greedy`)."""
    return evidence.meanings.greedy_id == evidence.choice.heaviest_id if evidence.drawn.greedy else None


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
