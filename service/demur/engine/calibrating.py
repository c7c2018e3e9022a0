"""Which profile speaks for an answer, and what it says: a probability, thresholds, and what they promise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from demur.calibration.profile import Certificate, Profile, ProfileKey, Stage
from demur.engine.prompting import PromptTemplate
from demur.normalisation import VERSION as NORMALISER_VERSION
from demur.settings import ClusteringSettings
from demur.types import CalibrationInfo, Degradation, Guarantee, Message, Policy, Question, Scope, SignalName

# Each of these changes a signal, so that it is no longer the one that the labels were about. Missing logprobs matter
# only to a map that reads them, and it finds out by itself.
_VOIDING = frozenset(
    {
        Degradation.PARTIAL_SAMPLES,
        Degradation.SAMPLES_TRUNCATED,
        Degradation.NLI_UNAVAILABLE,
        Degradation.NLI_TRUNCATED,
        Degradation.DEADLINE,
    }
)


def is_void(degraded: Collection[Degradation], nli_model: str | None) -> bool:
    """Whether no profile may speak. Where no NLI model was meant to judge, there is none to miss."""
    expected = frozenset({Degradation.NLI_UNAVAILABLE}) if nli_model is None else frozenset()
    return not (_VOIDING - expected).isdisjoint(degraded)


@dataclass(frozen=True, slots=True)
class Revisions:
    """Which weights; None where that is not known."""

    model: str | None = None
    nli: str | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """The models behind an answer, and whether there was a T=0 answer among what they gave."""

    model: str
    nli_model: str | None
    has_greedy: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """`info` and `guarantee` are None without a profile; `confidence` is agreement then."""

    confidence: float
    policy: Policy
    info: CalibrationInfo | None = None
    guarantee: Guarantee | None = None


class Calibration:
    """The profiles of this service. Without any, every answer is uncalibrated. `use` puts others into force."""

    def __init__(
        self,
        profiles: Mapping[ProfileKey, Profile],
        clustering: ClusteringSettings,
        template: PromptTemplate,
        revisions: Revisions,
    ) -> None:
        self._clustering = clustering
        self._template = template
        self._revisions = revisions
        self.use(profiles)

    def use(
        self, profiles: Mapping[ProfileKey, Profile], suspended: Collection[tuple[str, Scope]] | None = frozenset()
    ) -> None:
        """From now on, these; `suspended` names certificates by profile id and scope. None: which ones is not known,
        and nothing is promised."""
        said = [*sorted(map(repr, profiles.values())), repr(suspended if suspended is None else sorted(suspended))]
        self._profiles = dict(profiles)
        self._suspended = suspended
        self._fingerprint = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]

    @property
    def profiles(self) -> Mapping[ProfileKey, Profile]:
        """Those in force."""
        return self._profiles

    def ids(self) -> frozenset[str]:
        """Of the profiles in force."""
        return frozenset(profile.id for profile in self._profiles.values())

    @property
    def fingerprint(self) -> str:
        """Changes with whatever the profiles say."""
        return self._fingerprint

    def is_suspended(self, profile: Profile, scope: Scope) -> bool:
        """Whether that certificate is not to be relied on (any more), for all that is known."""
        return self._suspended is None or (profile.id, scope) in self._suspended

    def key(self, question: Question, served: Served) -> ProfileKey:
        """All that the signals of such an answer depend on."""
        sampling = question.sampling
        return ProfileKey(
            model=served.model,
            model_revision=self._revisions.model,
            conversation=_digest_around_question(question.messages),
            n_samples=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            stop=sampling.stop,
            answer_strategy=question.answer_strategy,
            has_greedy=served.has_greedy,
            nli_model=served.nli_model,
            nli_revision=self._revisions.nli,
            clustering_rule=self._clustering.rule,
            include_prompt=self._clustering.include_prompt,
            normaliser=NORMALISER_VERSION,
            first_look=sampling.min_n if sampling.mode == "adaptive" else None,
        )

    def read(
        self,
        question: Question,
        served: Served,
        signals: Mapping[SignalName, float],
        degraded: Collection[Degradation],
        *,
        agreement: float,
        is_non_answer: bool,
        n_tokens: int | None,
    ) -> Reading:
        """What the profile of this question's key says; agreement and the caller's policy where there is none.

        A non-answer is not correct, and its confidence is 0. A guarantee comes with the profile's own thresholds only;
        a suspended one is not given, and its thresholds stay. No profile was fitted to answers made elsewhere.
        `n_tokens`: of the longest answer drawn, None where that is not known, or where longer ones were given up.
        """
        profile = self._profile(question, served, degraded, n_tokens) if self._profiles else None
        stage = self._stage(profile, question) if profile else None
        p_correct = stage.p_correct(signals) if stage else None
        if profile is None or stage is None or p_correct is None:
            return Reading(agreement, question.policy)
        confidence = 0.0 if is_non_answer else p_correct
        if question.policy.name != "default":
            return Reading(confidence, question.policy, profile.info(stage))
        certificate = self._certificate(profile, question, signals)
        is_promised = certificate is not None and not self.is_suspended(profile, certificate.scope)
        guarantee = profile.guarantee(certificate) if certificate and is_promised else None
        return Reading(confidence, profile.policy(certificate), profile.info(stage), guarantee)

    def may_do_without_samples(self, question: Question, served: Served) -> bool:
        """Whether a promise about a cascade covers this question, so that the T=0 answer is to come first."""
        return self._cascade(question, served, n_tokens=0) is not None

    def read_alone(
        self,
        question: Question,
        served: Served,
        signals: Mapping[SignalName, float],
        *,
        is_non_answer: bool,
        n_tokens: int | None,
    ) -> Reading | None:
        """What the T=0 answer's own tokens say of it, where that is promised to do; None: samples are needed."""
        found = self._cascade(question, served, n_tokens)
        if found is None or is_non_answer:
            return None
        profile, stage, certificate = found
        p_correct, bound = stage.p_correct(signals), certificate.skip_min
        if p_correct is None or bound is None or p_correct < bound:
            return None
        policy = replace(profile.policy(certificate), answer_min=bound)
        return Reading(p_correct, policy, profile.info(stage), profile.guarantee(certificate))

    def _cascade(
        self, question: Question, served: Served, n_tokens: int | None
    ) -> tuple[Profile, Stage, Certificate] | None:
        if question.sampling.mode != "cascade":
            return None
        profile = self._profile(question, served, (), n_tokens)
        if profile is None or profile.greedy is None or question.policy.name != "default":
            return None
        certificate = self._certificate(profile, question)
        is_cascade = certificate is not None and certificate.scope == "cascade"
        return (profile, profile.greedy, certificate) if certificate and is_cascade else None

    def _certificate(
        self, profile: Profile, question: Question, signals: Mapping[SignalName, float] | None = None
    ) -> Certificate | None:
        """Where a cascade is not to be relied on, or the T=0 answer's tokens told nothing, all is as without it."""
        cascades = question.sampling.mode == "cascade" and not self.is_suspended(profile, "cascade")
        if cascades and signals is not None:
            cascades = profile.greedy is not None and profile.greedy.p_correct(signals) is not None
        return profile.certificate(question.retrieval, has_context=bool(question.context), cascades=cascades)

    def _profile(
        self, question: Question, served: Served, degraded: Collection[Degradation], n_tokens: int | None
    ) -> Profile | None:
        if is_void(degraded, served.nli_model) or question.rated is not None or question.sampling.passed_on:
            return None
        key = self.key(question, served)
        return self._profiles.get(key) or self._under_lower_limit(key, n_tokens)

    def _under_lower_limit(self, key: ProfileKey, n_tokens: int | None) -> Profile | None:
        """A limit that no answer came near changed nothing: of the profiles fitted under lower ones, the one with the
        highest that none reached."""
        if n_tokens is None:
            return None
        limits = {known.max_tokens for known in self._profiles if n_tokens < known.max_tokens < key.max_tokens}
        lower = (self._profiles.get(replace(key, max_tokens=limit)) for limit in sorted(limits, reverse=True))
        return next((profile for profile in lower if profile), None)

    def _stage(self, profile: Profile, question: Question) -> Stage | None:
        """The map for answers with passages holds for the template that it was fitted with."""
        if not question.context:
            return profile.closed_book
        stage = profile.with_context
        return stage if stage and stage.prompt_template == self._template.digest else None


def _digest_around_question(messages: tuple[Message, ...]) -> str:
    """The same for conversations that differ in the last user message alone."""
    last = max(i for i, m in enumerate(messages) if m.role == "user")
    shape = [[m.role, None if i == last else m.content] for i, m in enumerate(messages)]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:16]
