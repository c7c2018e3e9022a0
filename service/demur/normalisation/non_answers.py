"""Recognises answers that decline to answer: refusals, "I don't know", and empty text.

Precision comes first: every sentence must decline, or be courtesy around it. A text that goes on to answer ("I'm not
sure, but I think it is Paris") is an answer, and so is a title ("I Don't Know How She Does It").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

MAX_CHARACTERS = 1500  # refusals are shorter; bounds the work on hostile input

_PLAIN_QUOTES = str.maketrans("’‘`´“”", "''''\"\"")
_ONLY_PUNCTUATION = re.compile(r"[\s.,;:!?…‐‑–—_'\"()\[\]-]*")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+|\s*[;\n]\s*")
_EDGE = " .,;:!?…\"'*()[]"


def _any_of(*forms: str) -> str:
    return f"(?:{'|'.join(forms)})"


def _one(words: str) -> str:
    """One of these words; an underscore is a space within one."""
    return _any_of(*(word.replace("_", " ") for word in words.split()))


def _maybe(*forms: str) -> str:
    """Nothing, or one of the forms and a space."""
    return f"(?:{_any_of(*forms)} )?"


_FACTS = _one("information info context data details? evidence knowledge facts")
_I = _one("i we")
_I_AM = _one("i'm i_am im we're we_are")
_ADVERB = _maybe("really", "honestly", "actually", "just", "simply", "currently", "personally", "also", "still")
_DO_NOT = _one("do_not don't dont did_not didn't")
_CANNOT = _one("cannot can't cant can_not could_not couldn't")
_AM_UNABLE = _one("am_unable_to am_not_able_to 'm_unable_to 'm_not_able_to")
_IS = _one("is are was were remains?")
_SUBJECT = r"(?:it|this|that|(?:the|this|that|a|an|your|his|her|its|their) (?:[\w'-]+ ){0,6}[\w'-]+)"
_SOURCE = (
    _maybe("the", "this", "that", "your")
    + _maybe("given", "provided", "available")
    + _one("question passages? context text documents? prompt problem articles? sources? statement information")
    + "(?: given| provided| above)?"
)
_OPEN = _any_of(
    _one("unknown unclear uncertain unspecified undetermined"),
    f"not {_maybe('explicitly', 'clearly', 'specifically', 'publicly')}"
    + _one("given provided specified mentioned stated known clear certain"),
)
_GROUNDS = rf"(?: {_one('from with without based_on given using as because since due_to by in within to_answer')}\b.*)?"

# What the speaker does not know. "... why you say goodbye" and "... how she does it" are titles rather than refusals.
_MATTER = (
    r"(?: (?:"
    + _one("who whom whose what when where which why if whether")
    + r"(?! (?:i|i'm|i am|we|you(?! (?:are|mean|refer))|you're)\b)"
    + "|how "
    + _one("many much long old tall far big often to_answer to_respond")
    + "|"
    + _one("the that this it your about of for_sure anything any enough exactly")
    + r")\b.*)?"
)
_ANSWER_IT = _any_of(
    rf"answer(?: {_one('that this the your it any questions? with based from without because as since')}\b.*)?",
    _one("provide determine identify verify confirm recall access locate establish ascertain calculate solve")
    + r"\b.*",
    r"(?:comment|respond)\b.*",
    rf"find {_maybe('any', 'specific', 'more', 'the', 'a', 'an', 'that', 'this', 'enough')}(?:[\w-]+ ){{0,3}}"
    + _one("information info answers? details? data records? evidence mention names? number source organi[sz]ation")
    + r"\b.*",
    r"(?:say|tell(?: you)?)"
    rf"(?: {_one('for_sure for_certain with_certainty exactly which who whether how_many from based_on')}\b.*)?",
    r"give (?:you )?(?:an?|the|any|that|this) (?:[\w-]+ )?(?:answer|information|details?|number|date|name)\b.*",
    r"(?:help|assist)(?: you)?(?: (?:with|on|there)\b.*)?",
    r"remember(?: (?:the answer|that|who|what|which)\b.*)?",
    r"be (?:sure|certain)\b.*",
    r"(?:comply|do that|discuss (?:this|that).*)",
)

# Said before a refusal; says nothing itself.
_LEAD = re.compile(
    _any_of(
        rf"{_I_AM} {_maybe('so', 'very', 'really', 'truly')}(?:sorry|afraid)",
        _one("sorry apologies my_apologies i_apologi[sz]e unfortunately regrettably honestly frankly to_be_honest"),
        _one("well hmm+ um+ uh+ oh"),
        r"as an? (?:ai|artificial intelligence|large language model|language model|assistant)[^.,;:]*",
        rf"{_one('based_on given from according_to with using')} {_maybe('the', 'this', 'that', 'my')}[^.,;:]*?"
        + _one("information context passages? text documents? articles? data question knowledge")
        + "(?: given| provided| above| available)?",
        r"(?:the |my )?(?:final )?answer(?: to (?:this|that|the|your) question)? is",
        r"(?:the |my )?(?:final )?answer(?=:)",
    )
    + r"(?: for (?:that|this|the [\w ]+))?[,:]?(?: (?:but|that|and))?\s+"
)

_DECLINES = re.compile(
    _any_of(
        _one("n/a idk dunno unsure unanswerable indeterminate no_idea no_clue no_comment who_knows beats_me"),
        _OPEN,
        rf"{_OPEN} (?:in|from|based on|within)\b.*",
        _one("not_applicable not_available not_found not_answerable not_disclosed"),
        r"no answer(?: (?:found|available|given|provided))?",
        r"(?:answer|information) not (?:found|available|given|provided)",
        rf"{_I} {_ADVERB}{_DO_NOT} {_ADVERB}(?:know|remember|recall|understand){_MATTER}",
        r"(?:do not|don't|dont) know(?: the answer)?",
        rf"{_I} {_ADVERB}{_DO_NOT} {_ADVERB}(?:have|possess|see|find) (?:[\w-]+ ){{0,5}}"
        rf"(?:{_FACTS}|idea|clue|answer|access|ability|way|opinions?|preferences?)\b.*",
        rf"{_I} {_ADVERB}have no (?:[\w-]+ )?(?:{_FACTS}|idea|clue|answer|way|record|access|memory)\b.*",
        rf"{_I} {_ADVERB}(?:lack|(?:would )?need (?:more|additional|further)) (?:[\w-]+ ){{0,3}}{_FACTS}\b.*",
        f"(?:{_I_AM} )?{_ADVERB}"
        rf"(?:not {_maybe('entirely', 'quite', 'really', 'completely')}(?:sure|certain)|unsure|uncertain){_MATTER}",
        rf"{_I_AM} {_ADVERB}{_one('not_aware not_familiar not_confident not_able unaware unable unfamiliar')}"
        r"(?: (?:of|with|to|that|in) .*)?",
        rf"{_I}(?: {_ADVERB}{_CANNOT}| ?{_AM_UNABLE}) {_ADVERB}{_ANSWER_IT}",
        rf"(?:{_I} (?:will not|won't|must decline to|decline to|refuse to|prefer not to)"
        rf"|i'd rather not) {_one('answer comment respond say provide')}\b.*",
        r"(?:cannot|can't|can not|unable to) (?:answer|determine|say|tell|provide (?:an?|the|this|that|any) )\b.*",
        rf"(?:{_SUBJECT} )?{_CANNOT} be (?:determined|answered|ascertained|calculated|known){_GROUNDS}",
        rf"(?:{_SUBJECT} {_IS}|it's|that's) {_maybe('currently', 'still', 'largely')}{_OPEN}{_GROUNDS}",
        r"(?:the answer|it|this|that|this information) (?:is|was) not "
        rf"{_one('found contained present included available in')}{_GROUNDS}",
        r"(?:there (?:isn't|is not) enough|(?:there (?:is|was|are) |there's )?(?:not enough|insufficient|inadequate)) "
        rf"(?:\w+ ){{0,2}}{_FACTS}\b(?: .*)?",
        r"(?:there (?:is|was|are)|there's)? ?no (?:\w+ )?(?:information|info|context)"
        rf"(?: {_one('is was given provided available about on regarding in to for found as_to')}\b.*)?",
        rf"{_SOURCE} (?:does not|doesn't|{_DO_NOT}|fails to) "
        rf"{_maybe('explicitly', 'directly', 'specifically', 'clearly')}"
        rf"{_one('provide contain mention specify give state include say allow have answer offer')}\b.*",
        r"(?:it is |it's )?(?:impossible|not possible) (?:for me )?to (?:answer|say|tell|know|determine|provide)"
        rf"(?: {_one('that this the_answer an for_sure from based_on without with given which who what when whether')}"
        r"\b.*)?",
        r"there(?:'s| is) no way (?:to (?:know|tell|be sure)|of knowing)\b.*",
        rf"(?:more|additional|further) (?:\w+ )?{_FACTS} (?:is|are|would be) (?:needed|required|necessary)\b.*",
        r"(?:(?:could|can|would) you )?please (?:provide|clarify|specify|rephrase)\b.*",
        r"(?:could|can|would) you (?:clarify|specify|rephrase)\b.*",
    )
)

# Said around a refusal; alone it is none.
_COURTESY = re.compile(
    _any_of(
        rf"(?:{_I_AM} )?(?:so |very )?sorry|(?:my )?apologies|thank you|thanks",
        r"(?:could|can|would) you (?:please )?(?:provide|give|tell)\b.*|please .*|kindly .*",
        r"if you (?:have|could|can|provide|need|would|want|let)\b.*|let me know\b.*|is there anything\b.*",
        r"(?:can|may|could) i (?:help|assist)\b.*|how (?:can|may) i (?:help|assist)\b.*|i hope (?:this|that) helps",
        rf"{_I} (?:would )?(?:recommend|suggest|advise)\b.*",
        r"you (?:can|may|could|should|might) (?:want to |try to )?"
        rf"{_one('check consult visit try refer search look contact ask')}\b.*",
        r"(?:the|this|your) question (?:is|seems|appears)(?: to be)? "
        rf"{_one('incomplete unclear ambiguous too_vague vague')}\b.*",
        r"my (?:knowledge|training)\b.*",
    )
)

# After one of these an answer may follow.
_TURNS = re.compile(
    r"\b(?:but|however|although|though|nevertheless|probably|perhaps|maybe|possibly|likely|my (?:best )?guess"
    r"|i (?:think|believe|guess|suppose|can tell|would say)|i'd say|(?:it|he|she|they) (?:could|might|may|would) be"
    r"|(?<!what )the answer is|answer:)\b"
)
_REFUSAL_LIKE_A_TITLE = re.compile(
    r"not enough|insufficient|no information|cannot (?:be )?determine|as an ai|i'm sorry|i am sorry"
)


def is_non_answer(text: str) -> bool:
    """Whether `text` declines to answer, in English; also true of empty text and of punctuation alone."""
    if len(text) > MAX_CHARACTERS:
        return not text.strip()
    return _is_short_non_answer(text)


@lru_cache(maxsize=512)  # of the answers at work: each is asked about several times
def _is_short_non_answer(text: str) -> bool:
    plain = unicodedata.normalize("NFKC", text.translate(_PLAIN_QUOTES)).strip()
    if _ONLY_PUNCTUATION.fullmatch(plain):
        return True
    if _is_title(plain):
        return False
    sentences = [s for s in (part.strip(_EDGE) for part in _SENTENCE_END.split(plain.casefold())) if s]
    return any(map(_declines, sentences)) and all(_declines(s) or _is_courtesy(s) for s in sentences)


def _declines(sentence: str) -> bool:
    """Whether one sentence declines, and does not turn to an answer."""
    core = sentence
    while match := _LEAD.match(core):
        core = core[match.end() :]
    core = core.removesuffix("sorry").strip(_EDGE)
    return _DECLINES.fullmatch(core) is not None and not _TURNS.search(core)


def _is_courtesy(sentence: str) -> bool:
    return _COURTESY.fullmatch(sentence) is not None and not _TURNS.search(sentence)


def _is_title(text: str) -> bool:
    """Whether the text Begins Like a Title."""
    words = re.findall(r"[^\W\d_][\w']*", text)
    if len(words) < 4 or text.isupper() or _REFUSAL_LIKE_A_TITLE.match(text.casefold()):
        return False
    return all(word[0].isupper() for word in words[:3])


def refusal_fraction(texts: Sequence[str]) -> float:
    """Share of `texts` that decline to answer, in [0, 1]."""
    return sum(map(is_non_answer, texts)) / len(texts)
