"""What a server can do, found out by asking it: their documentation and their answers differ."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from demur.errors import BackendError, UnsupportedByBackend
from demur.samplers.refusals import Refusal
from demur.samplers.replies import Choice, Reply
from demur.types import LogprobSource, Message, Sampling

logger = logging.getLogger(__name__)

# Few words can be guessed, so that two draws hardly agree by chance.
_PROMPT = (Message("user", "Write down ten random words."),)
_MAX_TOKENS = 16
_N_TOP = 5
# Within the range of every server (some end at 1), and far enough apart to tell which logprobs they change.
_COLD, _WARM = 0.25, 1.0
_MIN_SPAN_NATS = 0.5
_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for completions. `n_top` asks for the likeliest tokens' logprobs, too; 0 leaves them out.

    `passed_on` is a JSON object of further fields, or empty.
    """

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n_top: int = 0
    cache_salt: str | None = None
    passed_on: str = ""

    @classmethod
    def of(cls, messages: tuple[Message, ...], sampling: Sampling, *, n: int = 1, cache_salt: str | None = None) -> Ask:
        return cls(
            messages,
            n,
            sampling.temperature,
            sampling.top_p,
            sampling.max_tokens,
            sampling.stop,
            sampling.seed,
            cache_salt=cache_salt,
            passed_on=sampling.passed_on,
        )

    def greedy(self) -> Ask:
        """The same at T=0, where nothing is drawn: one answer, and neither seed nor top_p."""
        return replace(self, n=1, temperature=0.0, top_p=1.0, seed=None)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """None where the probe could not tell.

    `has_n`: several completions per request. `has_greedy`: T=0 is accepted. `has_logprobs`: usable token logprobs
    come back. `has_seed`: the same seed gives the same text. `varies`: draws differ from each other.
    """

    has_n: bool = False
    has_greedy: bool = True
    has_logprobs: bool | None = None
    logprob_source: LogprobSource = "unknown"
    has_seed: bool | None = None
    varies: bool | None = None


async def probe(ask: Callable[[Ask], Awaitable[Reply]]) -> Capabilities:
    """A handful of short completions, one after the other.

    Raises: BackendUnavailable, where the server is not there yet; BackendError or Refusal, where it gives nothing to
    anybody (a wrong URL, key or model name).
    """
    warm = Ask(_PROMPT, temperature=_WARM, max_tokens=_MAX_TOKENS, seed=1, n_top=_N_TOP)
    try:
        pair = await ask(replace(warm, n=2))
    except Refusal as refusal:
        if refusal.status in (401, 403, 404):
            raise
        logger.warning("the language model's server refused the probe: %s", refusal.message)
        return Capabilities()
    first = next(iter(pair.choices), None)
    again, other = await _first_choice(ask, warm), await _first_choice(ask, replace(warm, seed=2))
    cold = await _first_choice(ask, replace(warm, temperature=_COLD, max_tokens=1))
    return Capabilities(
        has_n=len(pair.choices) == 2,
        has_greedy=await _accepts(ask, replace(warm, max_tokens=1).greedy()),
        has_logprobs=None if first is None else first.logprobs is not None,
        logprob_source=logprob_source(cold.first_top, first.first_top) if cold and first else "unknown",
        has_seed=_has_seed(first, again, other),
        varies=_varies(first, other),
    )


async def _first_choice(ask: Callable[[Ask], Awaitable[Reply]], wanted: Ask) -> Choice | None:
    try:
        return next(iter((await ask(wanted)).choices), None)
    except (Refusal, UnsupportedByBackend, BackendError) as error:
        logger.warning("the language model's server failed at a probe: %s", error)
        return None


async def _accepts(ask: Callable[[Ask], Awaitable[Reply]], wanted: Ask) -> bool:
    try:
        await ask(wanted)
    except (Refusal, UnsupportedByBackend):
        return False
    except BackendError as error:
        logger.warning("the language model's server failed at a probe: %s", error)
    return True


def logprob_source(cold: Mapping[str, float], warm: Mapping[str, float]) -> LogprobSource:
    """From the likeliest first tokens at temperatures 0.25 and 1: raw logprobs lie as far apart in both; processed
    ones four times as far in the cold. Unknown where they lie too near to each other to tell, or are not given."""
    shared = cold.keys() & warm.keys()
    if len(shared) < 2:
        return "unknown"
    spans = [max(top[t] for t in shared) - min(top[t] for t in shared) for top in (cold, warm)]
    if spans[1] < _MIN_SPAN_NATS:
        return "unknown"
    ratio = spans[0] / spans[1]
    if abs(ratio - 1) <= _TOLERANCE:
        return "raw"
    return "processed" if abs(ratio / (_WARM / _COLD) - 1) <= _TOLERANCE else "unknown"


def _has_seed(first: Choice | None, again: Choice | None, other: Choice | None) -> bool | None:
    if first is None or again is None or other is None or not first.text:
        return None
    if first.text != again.text:
        return False
    return True if first.text != other.text else None


def _varies(first: Choice | None, other: Choice | None) -> bool | None:
    return first.text != other.text if first and other and first.text else None
