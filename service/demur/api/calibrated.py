"""What is shown of calibrations and policies."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from demur.api.responses import CalibrationOut, GuaranteeOut
from demur.calibration.profile import Certificate, Profile, ProfileKey, Stage
from demur.evaluation.judged import Stage as StageName
from demur.recalibration.recalibration import Kept
from demur.storage.records import Suspension
from demur.types import AnswerStrategy, Policy, Scope, SignalName

MapName = StageName | Literal["greedy"]  # greedy: of the T=0 answer's tokens alone


class _Wire(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class AppliesToOut(_Wire):
    """The way of asking that it speaks for; questions asked in any other way are uncalibrated. A higher `max_tokens` is
    no other way while all answers stay below this one."""

    profile_key: str = Field(description="Digest of all of it.")
    model: str
    model_revision: str | None
    n: int = Field(description="Samples.")
    temperature: float
    top_p: float
    max_tokens: int
    stop: list[str]
    answer_strategy: AnswerStrategy
    nli_model: str | None

    @classmethod
    def from_domain(cls, key: ProfileKey) -> AppliesToOut:
        return cls(
            profile_key=key.digest,
            model=key.model,
            model_revision=key.model_revision,
            n=key.n_samples,
            temperature=key.temperature,
            top_p=key.top_p,
            max_tokens=key.max_tokens,
            stop=list(key.stop),
            answer_strategy=key.answer_strategy,
            nli_model=key.nli_model,
        )


class FiguresOut(_Wire):
    """On `n` held-out answers; null where too few are there to tell."""

    n: int
    accuracy: float | None
    auroc: float | None
    brier: float | None
    brier_uncalibrated: float | None = Field(description="Of agreement, which the probability replaces.")
    smooth_ece: float | None
    smooth_ece_perfect: float | None = Field(description="A faultless map stays below in 95 of 100 sets of this size.")
    smooth_ece_uncalibrated: float | None
    ece: float | None = Field(description="Ten bins, (low, high].")
    ece_uncalibrated: float | None


class StageOut(_Wire):
    stage: MapName
    method: Literal["platt", "isotonic", "fused"]
    signals: list[SignalName]
    figures: FiguresOut

    @classmethod
    def from_domain(cls, name: MapName, stage: Stage) -> StageOut:
        calibrator = stage.calibrator
        figures = FiguresOut.model_validate(stage.figures)
        return cls(stage=name, method=calibrator.method, signals=list(calibrator.signals), figures=figures)


class SuspensionOut(_Wire):
    """Audits contradict the promise: it is not given any more."""

    created: int = Field(description="Unix time, in seconds.")
    n_answered: int = Field(description="Audited answers that were given under it, in one stretch of time.")
    errors: int = Field(description="How many of them were wrong.")
    evidence: float = Field(description="ln of the e-value against an error rate of at most alpha.")
    needed: float = Field(description="What it had to reach.")


class CertificateOut(GuaranteeOut):
    """A promise with its thresholds, and what they did on the held-out questions."""

    answer_min: float
    answer_min_after_retrieval: float | None
    retrieval_id: str | None
    skip_min: float | None = Field(description="cascade: from here on the T=0 answer is given without samples.")
    coverage: float = Field(description="Share of the questions answered.")
    retrieval_rate: float = Field(description="Share of the questions looked up.")
    skip_rate: float = Field(description="Share of the questions answered without samples.")
    suspended: SuspensionOut | None

    @classmethod
    def of(cls, one: Certificate, profile: Profile, suspension: Suspension | None) -> CertificateOut:
        return cls(
            **GuaranteeOut.model_validate(profile.guarantee(one), from_attributes=True).model_dump(),
            answer_min=one.answer_min,
            answer_min_after_retrieval=one.answer_min_after_retrieval,
            retrieval_id=one.retrieval_id,
            skip_min=one.skip_min,
            coverage=one.n_accepted / one.n_calibration if one.n_calibration else 0.0,
            retrieval_rate=one.retrieval_rate,
            skip_rate=one.skip_rate,
            suspended=SuspensionOut.model_validate(suspension) if suspension else None,
        )


class ProvenanceOut(_Wire):
    population: str
    grader: str
    n_labels: int
    n_dropped: int = Field(description="Degraded answers, or questions that lack a stage: they took no part.")
    data_sha256: str
    fitted_at: datetime
    demur_version: str
    notes: str


class CalibrationResponse(_Wire):
    """A version of what was learnt from labels, for one way of asking."""

    id: str
    object: Literal["calibration"] = "calibration"
    created: int = Field(description="Unix time, in seconds.")
    active: bool = Field(description="In force on this replica: one at most for each profile key.")
    applies_to: AppliesToOut
    provenance: ProvenanceOut
    stages: list[StageOut]
    certificates: list[CertificateOut]
    uncertified_answer_min: float = Field(description="Threshold where no certificate applies; it promises nothing.")
    uncertified_answer_min_after_retrieval: float | None = Field(description="After retrieval; null: the same.")

    @classmethod
    def from_domain(cls, kept: Kept) -> CalibrationResponse:
        profile = kept.profile
        return cls(
            id=profile.id,
            created=kept.created,
            active=kept.is_active,
            applies_to=AppliesToOut.from_domain(profile.key),
            provenance=ProvenanceOut.model_validate(profile.provenance),
            stages=[StageOut.from_domain(name, stage) for name, stage in stages_of(profile)],
            certificates=_certificates(kept),
            uncertified_answer_min=profile.uncertified_answer_min,
            uncertified_answer_min_after_retrieval=profile.uncertified_answer_min_after_retrieval,
        )


class CalibrationList(_Wire):
    object: Literal["list"] = "list"
    data: list[CalibrationResponse]
    next: str | None = Field(description="Send it as `after` to get the next page; null: this is the last one.")


class ThresholdsOut(_Wire):
    """The thresholds of one kind of caller, and what is promised with them."""

    scope: Scope | Literal["uncertified"] = Field(
        description="closed_book: first attempts from memory; two_stage: callers who name `retrieval_id`; cascade: "
        "first attempts with `sampling.mode: cascade`; uncertified: all others."
    )
    answer_min: float = Field(description="Of a cascade: where samples are drawn.")
    answer_min_after_retrieval: float
    retrieve_min: float
    retrieval_id: str | None
    skip_min: float | None = Field(description="cascade: from here on the T=0 answer is given without samples.")
    guarantee: GuaranteeOut | None = Field(description="null: nothing is promised.")
    suspended: SuspensionOut | None


class CurvePointOut(_Wire):
    """Answering from this confidence on: the share of questions answered, and the error rate among those."""

    confidence: float
    coverage: float
    risk: float


class CurveOut(_Wire):
    """Risk against coverage on held-out questions; confidence falls and coverage rises from point to point."""

    stage: MapName
    n: int = Field(description="Held-out answers behind it.")
    points: list[CurvePointOut]


class PolicyResponse(_Wire):
    """A named policy as it stands for one way of asking. `calibration` null: for every way that no profile speaks for;
    there `confidence` is agreement, and five samples and the T=0 answer's agreement are asked for as well."""

    object: Literal["policy"] = "policy"
    name: str = Field(description="What `policy` in a request names.")
    calibration: CalibrationOut | None
    applies_to: AppliesToOut | None
    thresholds: list[ThresholdsOut]
    curves: list[CurveOut]

    @classmethod
    def uncalibrated(cls, policy: Policy) -> PolicyResponse:
        thresholds = [_thresholds("uncertified", policy)]
        return cls(name=policy.name, calibration=None, applies_to=None, thresholds=thresholds, curves=[])

    @classmethod
    def from_domain(cls, kept: Kept) -> PolicyResponse:
        profile = kept.profile
        return cls(
            name="default",
            calibration=CalibrationOut.model_validate(profile.info(profile.closed_book), from_attributes=True),
            applies_to=AppliesToOut.from_domain(profile.key),
            thresholds=[_certified(c, kept) for c in profile.certificates]
            + [_thresholds("uncertified", profile.policy(None))],
            curves=[_curve(name, stage) for name, stage in stages_of(profile)],
        )


class PolicyList(_Wire):
    object: Literal["list"] = "list"
    data: list[PolicyResponse]


def stages_of(profile: Profile) -> list[tuple[MapName, Stage]]:
    named: list[tuple[MapName, Stage | None]] = [
        ("closed_book", profile.closed_book),
        ("with_context", profile.with_context),
        ("greedy", profile.greedy),
    ]
    return [(name, stage) for name, stage in named if stage is not None]


def _certificates(kept: Kept) -> list[CertificateOut]:
    return [CertificateOut.of(c, kept.profile, _suspension(kept, c.scope)) for c in kept.profile.certificates]


def _suspension(kept: Kept, scope: Scope) -> Suspension | None:
    return next((s for s in kept.suspensions if s.scope == scope), None)


def _certified(certificate: Certificate, kept: Kept) -> ThresholdsOut:
    suspension = _suspension(kept, certificate.scope)
    guarantee = None if suspension else GuaranteeOut.model_validate(kept.profile.guarantee(certificate))
    policy = kept.profile.policy(certificate)
    return _thresholds(certificate.scope, policy, certificate.retrieval_id, certificate.skip_min, guarantee, suspension)


def _thresholds(
    scope: Scope | Literal["uncertified"],
    policy: Policy,
    retrieval_id: str | None = None,
    skip_min: float | None = None,
    guarantee: GuaranteeOut | None = None,
    suspension: Suspension | None = None,
) -> ThresholdsOut:
    return ThresholdsOut(
        scope=scope,
        answer_min=policy.answer_min,
        answer_min_after_retrieval=policy.answer_min_after_retrieval,
        retrieve_min=policy.retrieve_min,
        retrieval_id=retrieval_id,
        skip_min=skip_min,
        guarantee=guarantee,
        suspended=SuspensionOut.model_validate(suspension) if suspension else None,
    )


def _curve(name: MapName, stage: Stage) -> CurveOut:
    points = [CurvePointOut.model_validate(point) for point in stage.figures.curve]
    return CurveOut(stage=name, n=stage.figures.n, points=points)
