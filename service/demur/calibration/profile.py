"""What was learnt from labels, for one way of asking one model: maps, certified thresholds, and their origin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from demur.calibration.selection import AnyCalibrator
from demur.calibration.trials import Rule
from demur.errors import ProfileUnreadable
from demur.types import AnswerStrategy, CalibrationInfo, Guarantee, Policy, Retrieval, Scope, SignalName

MAX_BYTES = 1_048_576
_STRICT: dict[str, object] = {"extra": "forbid", "allow_inf_nan": False}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """All that the signals depend on. Where any of it differs, the profile says nothing; a higher `max_tokens` than the
    profile's makes no difference as long as no answer reaches the profile's.

    `model_revision`, `nli_revision`: which weights, None where a server does not tell. `conversation`: digest of the
    messages around the question. `first_look`: the number of samples at which an adaptive draw may stop, None where all
    are always drawn. `nli_model`: None where answers are compared by normalised exact match; `normaliser`:
    version of that comparison.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    model: str
    model_revision: str | None
    conversation: str
    n_samples: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    answer_strategy: AnswerStrategy
    has_greedy: bool
    nli_model: str | None
    nli_revision: str | None
    clustering_rule: str
    include_prompt: bool
    normaliser: int
    first_look: int | None = None

    @property
    def digest(self) -> str:
        """The same for equal keys, and in practice for no others; 32 hex digits."""
        said = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Answering from this confidence on: the share of held-out questions answered, and the error rate among those."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    confidence: Share
    coverage: Share
    risk: Share


@dataclass(frozen=True, slots=True)
class Figures:
    """On `n` held-out answers: how good the map is; None where it cannot be measured.

    `auroc` is of the calibrated probability; `*_uncalibrated` are of the agreement that it replaces. A faultless map
    stays below `smooth_ece_perfect` in 95 of 100 sets of this size. `ece`: ten bins, (low, high]. `curve` falls in
    confidence; refusals are questions that are never answered.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    n: Count
    accuracy: Share | None
    auroc: Share | None
    brier: Share | None
    brier_uncalibrated: Share | None
    smooth_ece: Share | None
    smooth_ece_perfect: Share | None
    smooth_ece_uncalibrated: Share | None = None
    ece: Share | None = None
    ece_uncalibrated: Share | None = None
    curve: tuple[CurvePoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Stage:
    """The map for answers from memory, or from passages that `prompt_template` (its digest) put into the prompt."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    calibrator: Annotated[AnyCalibrator, Field(discriminator="method")]
    figures: Figures
    prompt_template: str | None = None

    def p_correct(self, signals: Mapping[SignalName, float]) -> float | None:
        """P(correct), or None where a signal is missing that the map reads."""
        if any(name not in signals for name in self.calibrator.signals):
            return None
        row = np.array([[signals[name] for name in self.calibrator.signals]], dtype=np.float64)
        return float(self.calibrator.p_correct(row)[0])


@dataclass(frozen=True, slots=True)
class Certificate:
    """The labels that bear a promise (`Guarantee`), the thresholds it is about, and what they did on those labels.

    A cascade answers without samples from `skip_min` on, by the profile's map of the greedy answer's tokens
    (`skip_rate`: the share of the labelled questions), and with them from `answer_min` on.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    scope: Scope
    answer_min: Share
    alpha: Annotated[float, Field(gt=0, lt=1)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    n_calibration: Count
    n_accepted: Count
    errors: Count
    answer_min_after_retrieval: Share | None = None
    retrieval_id: Annotated[str, Field(min_length=1)] | None = None
    retrieval_rate: Share = 0.0
    skip_min: Share | None = None
    skip_rate: Share = 0.0

    def __post_init__(self) -> None:
        if not self.errors <= self.n_accepted <= self.n_calibration:
            raise ValueError("need errors <= n_accepted <= n_calibration")
        if (self.scope == "two_stage") != (
            self.retrieval_id is not None and self.answer_min_after_retrieval is not None
        ):
            raise ValueError("a two-stage certificate, and no other, names a retriever and a second threshold")
        if (self.scope == "cascade") != (self.skip_min is not None):
            raise ValueError("a cascade's certificate, and no other, has a bound for doing without samples")

    @property
    def rule(self) -> Rule:
        if self.skip_min is not None:
            return Rule(self.skip_min, self.answer_min)
        return Rule(self.answer_min, self.answer_min_after_retrieval)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the labels came from. `n_dropped`: answers that were degraded, as they would be without a promise."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    population: Annotated[str, Field(min_length=1, max_length=128)]
    grader: str
    n_labels: Count
    n_dropped: Count
    data_sha256: str
    seed: int
    fitted_at: datetime
    demur_version: str
    notes: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """`uncertified_answer_min` is the threshold where no certificate applies, and holds after retrieval too unless
    `uncertified_answer_min_after_retrieval` is another one; they promise nothing. `greedy` is the map of the greedy
    answer's tokens alone."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    id: Annotated[str, Field(min_length=1, max_length=128)]
    key: ProfileKey
    closed_book: Stage
    provenance: Provenance
    uncertified_answer_min: Share
    with_context: Stage | None = None
    certificates: tuple[Certificate, ...] = ()
    uncertified_answer_min_after_retrieval: Share | None = None
    greedy: Stage | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        scopes = [certificate.scope for certificate in self.certificates]
        if len(set(scopes)) != len(scopes):
            raise ValueError("at most one certificate of each scope")
        if "two_stage" in scopes and self.with_context is None:
            raise ValueError("a two-stage certificate needs a map for answers from passages")
        if "cascade" in scopes and self.greedy is None:
            raise ValueError("a cascade's certificate needs a map of the greedy answer's tokens")

    def certificate(self, retrieval: Retrieval, *, has_context: bool, cascades: bool = False) -> Certificate | None:
        """The certificate that covers this caller, or None.

        Two-stage: the caller looks things up once, with the retriever that was certified. Closed book: whoever asks for
        the first time without passages; what happens to the questions not answered then changes nothing about it.
        Cascade: these, where the caller would do without samples (`cascades`).
        """
        by_scope = {certificate.scope: certificate for certificate in self.certificates}
        two_stage = by_scope.get("two_stage")
        is_first = retrieval.attempt == 0 and not has_context
        if two_stage and retrieval.available and retrieval.max_attempts == 1 and retrieval.id == two_stage.retrieval_id:
            if is_first or (retrieval.attempt == 1 and has_context):
                return two_stage
            return None
        if not is_first:
            return None
        return (by_scope.get("cascade") if cascades else None) or by_scope.get("closed_book")

    def policy(self, certificate: Certificate | None) -> Policy:
        """The thresholds of the certificate; where it has none, the uncertified ones."""
        first, later = self.uncertified_answer_min, self.uncertified_answer_min_after_retrieval
        floor = first if later is None else later
        if certificate is None:
            return Policy(answer_min=first, answer_min_after_retrieval=floor)
        after = certificate.answer_min_after_retrieval
        return Policy(answer_min=certificate.answer_min, answer_min_after_retrieval=floor if after is None else after)

    def guarantee(self, certificate: Certificate) -> Guarantee:
        return Guarantee(
            scope=certificate.scope,
            population=self.provenance.population,
            alpha=certificate.alpha,
            delta=certificate.delta,
            n_calibration=certificate.n_calibration,
            n_accepted=certificate.n_accepted,
            errors=certificate.errors,
        )

    def info(self, stage: Stage) -> CalibrationInfo:
        return CalibrationInfo(self.id, stage.calibrator.method, self.provenance.n_labels, self.provenance.fitted_at)


_PROFILE: TypeAdapter[Profile] = TypeAdapter(Profile)


def as_document(profile: Profile) -> dict[str, Any]:
    """The profile as JSON has it."""
    document: dict[str, Any] = _PROFILE.dump_python(profile, mode="json")
    return document


def from_document(document: Mapping[str, Any]) -> Profile:
    """The inverse of `as_document`. Raises ProfileUnreadable."""
    try:
        return _PROFILE.validate_json(json.dumps(document))  # JSON has no tuples, which a strict reader would miss
    except ValidationError as error:
        raise ProfileUnreadable(
            f"the calibration {document.get('id')!r} is not of this version of Demur: {_wrong(error)}"
        ) from error


def _wrong(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:5])


def read_profile(path: Path) -> Profile:
    """Raises ProfileUnreadable, which says what is wrong with which field."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileUnreadable(f"{path} is larger than {MAX_BYTES} bytes; that is no calibration profile")
        return _PROFILE.validate_json(path.read_bytes())
    except OSError as error:
        raise ProfileUnreadable(f"cannot read the calibration profile {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ProfileUnreadable(f"{path} is not a calibration profile of this version: {_wrong(error)}") from error


def write_profile(profile: Profile, path: Path) -> None:
    """Write as a whole or not at all. Raises ProfileUnreadable where the place cannot be written to."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(_PROFILE.dump_json(profile, indent=2) + b"\n")
        part.replace(path)
    except OSError as error:
        raise ProfileUnreadable(f"cannot write the calibration profile {path}: {error.strerror}") from error


def read_profiles(folder: Path) -> dict[ProfileKey, Profile]:
    """Every `*.json` of the folder by its key; none without a folder. Raises ProfileUnreadable, also for equal keys."""
    found: dict[ProfileKey, Profile] = {}
    for path in sorted(folder.glob("*.json")):
        profile = read_profile(path)
        if profile.key in found:
            raise ProfileUnreadable(
                f"{path} and another profile ({found[profile.key].id}) are for the same model, prompt and settings; "
                "keep one of them in the folder"
            )
        found[profile.key] = profile
    return found
