"""`/v1/calibrations`: fit from labels, list, put into force, go back."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Request
from fastapi.openapi.models import Example
from pydantic import Field, model_validator

from demur.api.calibrated import CalibrationList, CalibrationResponse
from demur.api.desk import DeskDep
from demur.api.guard import requires
from demur.api.reading import StrictRoute
from demur.api.stored import After, Limit
from demur.api.wire import Wire
from demur.calibration.profile import ProfileKey
from demur.calibration.signals import SIGNALS
from demur.errors import FieldError, ModelNotFound, ValidationFailed
from demur.evaluation.judged import Cost, Grade, JudgedAnswer, Stage
from demur.recalibration.recalibration import Dataset, Goal, Recalibration
from demur.types import SignalName

MAX_ANSWERS = 50_000

EXAMPLES: dict[str, Example] = {
    "audits": {
        "summary": "From audits, for an error rate of at most 5 %",
        "value": {"source": "audits", "max_risk": 0.05, "population": "support questions, November", "activate": True},
    },
    "confidence": {
        "summary": "Confidence as a probability, and no promise",
        "value": {"source": "audits", "certificate": False},
    },
}

router = APIRouter(route_class=StrictRoute, tags=["calibration"])

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Logprob = Annotated[float, Field(ge=-20, le=0, allow_inf_nan=False)]


class SignalsIn(Wire):
    """As `demur evaluate --save` writes them; each answer has those that its way of asking gives."""

    agreement: Share
    semantic_entropy: Share | None = None
    mean_logprob: Logprob | None = None
    min_logprob: Logprob | None = None
    greedy_agrees: Share | None = None
    sample_coverage: Share | None = None

    def to_domain(self) -> dict[SignalName, float]:
        return {name: value for name in SIGNALS if (value := getattr(self, name)) is not None}


class GradeIn(Wire):
    """What an answer is worth."""

    correct: bool
    refusal: bool = Field(False, description="It gives no answer.")

    def to_domain(self) -> Grade:
        return Grade(self.correct and not self.refusal, self.refusal)


class LabelledIn(Wire):
    """One answer, whether it is correct, and what was measured about it."""

    id: str = Field(min_length=1, max_length=256, description="Of the question: both stages of one share it.")
    stage: Stage = Field("closed_book", description="with_context: answered with passages.")
    correct: bool
    refusal: bool = Field(False, description="It gives no answer.")
    degraded: bool = Field(False, description="Too degraded for a calibration to speak; only a cascade looks at it.")
    greedy: GradeIn | None = Field(
        None,
        description="For a cascade: of the T=0 answer, where another one was given (`signals.greedy_agrees` below 1); "
        "one without a grade counts as wrong.",
    )
    signals: SignalsIn


class DatasetIn(Wire):
    """Labelled answers of this service's model, all asked for in one way."""

    key: ProfileKey = Field(description="That way, as `demur evaluate --save` writes it with each answer.")
    prompt_template: str | None = Field(None, max_length=64, description="Digest, for answers with passages.")
    grader: str = Field("uploaded", min_length=1, max_length=128, description="Who or what judged them.")
    answers: list[LabelledIn] = Field(min_length=1, max_length=MAX_ANSWERS)

    def to_domain(self) -> Dataset:
        said = self.model_dump_json(include={"key", "answers"}).encode()
        return Dataset([self._judged(each) for each in self.answers], self.grader, hashlib.sha256(said).hexdigest())

    def _judged(self, one: LabelledIn) -> JudgedAnswer:
        return JudgedAnswer(
            id=one.id,
            stage=one.stage,
            answer="",
            grader=self.grader,
            is_correct=one.correct and not one.refusal,
            is_refusal=one.refusal,
            is_voided=one.degraded,
            signals=one.signals.to_domain(),
            scores={"agreement": one.signals.agreement},
            cost=Cost(0, 0, 0.0),
            key=self.key,
            prompt_template=self.prompt_template if one.stage == "with_context" else None,
            greedy=one.greedy.to_domain() if one.greedy else None,
        )


class CalibrationRequest(Wire):
    """What to learn from, and what to promise. A promise rests on audits or on an uploaded dataset, on nothing else."""

    source: Literal["audits", "dataset"] = Field(
        description="audits: answers drawn at random (DEMUR_AUDIT__RATE) and labelled with source `audit`."
    )
    dataset: DatasetIn | None = Field(None, description="For the source `dataset`.")
    profile_key: str | None = Field(
        None, min_length=1, max_length=64, description="For `audits`: which way of asking; the most frequent one."
    )
    model: str | None = Field(None, max_length=256, description="The served model.")
    method: Literal["auto", "platt", "isotonic", "fused"] = Field(
        "auto", description="auto: the simplest map that no other beats on held-out answers."
    )
    max_risk: float = Field(0.1, ge=0.001, le=0.999, description="Error rate allowed among what is answered.")
    delta: float = Field(0.1, ge=0.001, le=0.5, description="Doubt allowed that it is kept.")
    certificate: bool = Field(True, description="false: calibrate confidence, promise nothing.")
    population: str | None = Field(
        None, min_length=1, max_length=128, description="Names the questions: the promise is about questions like them."
    )
    retrieval_id: str | None = Field(
        None, min_length=1, max_length=128, description="Certify both stages, with this retriever; needs a dataset."
    )
    cascade: bool = Field(
        False, description="Certify answering without samples, too (`sampling.mode: cascade`); needs a dataset."
    )
    retrieval_cost: Share = Field(0.0, description="Of a retrieval, in answers; with `wrong_cost`, in abstentions.")
    wrong_cost: float | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Of a wrong answer, where abstaining costs 1: thresholds of least expected cost, and no promise.",
    )
    activate: bool = Field(False, description="Put it into force at once.")

    @model_validator(mode="after")
    def _source_is_there(self) -> CalibrationRequest:
        if (self.dataset is None) != (self.source == "audits"):
            raise ValueError("the source `dataset`, and no other, comes with a `dataset`")
        if self.cascade and (not self.certificate or self.wrong_cost is not None):
            raise ValueError("`cascade` is a promise: it comes with neither `wrong_cost` nor `certificate: false`")
        return self

    def goal(self) -> Goal:
        return Goal(
            method=self.method,
            max_risk=self.max_risk,
            delta=self.delta,
            wants_certificate=self.certificate,
            population=self.population,
            retrieval_id=self.retrieval_id,
            cascade=self.cascade,
            retrieval_cost=self.retrieval_cost,
            wrong_cost=self.wrong_cost,
        )


async def get_recalibration(request: Request) -> Recalibration:
    recalibration: Recalibration = request.app.state.recalibration
    return recalibration


RecalibrationDep = Annotated[Recalibration, Depends(get_recalibration)]


@router.get("/v1/calibrations", dependencies=[requires("admin")])
async def list_calibrations(
    recalibration: RecalibrationDep, after: After = None, limit: Limit = 100
) -> CalibrationList:
    """Every version that was kept, the newest first; those of DEMUR_CALIBRATION__PROFILES among them."""
    found, following = await recalibration.page(after=after, limit=limit)
    return CalibrationList(data=[CalibrationResponse.from_domain(each) for each in found], next=following)


@router.post("/v1/calibrations", status_code=201, dependencies=[requires("admin")])
async def fit_calibration(
    body: Annotated[CalibrationRequest, Body(openapi_examples=EXAMPLES)],
    recalibration: RecalibrationDep,
    desk: DeskDep,
) -> CalibrationResponse:
    """Fit a calibration, and keep it. 422 `not-calibratable` says how many labels would do where these do not."""
    _check_model(body, desk.engine.model)
    if body.dataset is None:
        fitted = await recalibration.fit_audits(body.goal(), body.profile_key)
    else:
        fitted = await recalibration.fit_dataset(body.goal(), body.dataset.to_domain())
    kept = await recalibration.keep(fitted.profile)
    if body.activate:
        kept = await recalibration.activate(fitted.profile.id)
    return CalibrationResponse.from_domain(kept)


def _check_model(body: CalibrationRequest, model: str) -> None:
    if body.model not in (None, model):
        raise ModelNotFound(f"model {body.model!r} is not served here; this service runs {model!r}")
    if body.dataset is not None and body.dataset.key.model != model:
        raise ValidationFailed(FieldError("/dataset/key/model", f"these answers are not from {model!r}, served here"))


@router.post("/v1/calibrations/{calibration_id}/activate", dependencies=[requires("admin")])
async def activate_calibration(calibration_id: str, recalibration: RecalibrationDep) -> CalibrationResponse:
    """Put it into force for its way of asking: on this replica at once, on others of the same store within seconds.

    Going back is activating the old one. A suspended guarantee stays suspended: fit anew to renew it.
    """
    return CalibrationResponse.from_domain(await recalibration.activate(calibration_id))
