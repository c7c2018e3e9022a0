"""Declining to answer, told from answers that merely look like it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.normalisation.non_answers import is_non_answer, refusal_fraction

DECLINES = [
    "I don't know",
    "I don't know.",
    "I do not know the answer to that question.",
    "I don’t know who wrote that.",
    "I'm not sure",
    "I'm not sure.",
    "I am not certain about this.",
    "Unknown",
    "unknown.",
    "N/A",
    "n/a.",
    "No information",
    "No information available.",
    "There is no information about this in the passage.",
    "Not enough information in the context.",
    "Not enough information",
    "NOT ENOUGH INFORMATION",
    "I cannot answer",
    "I cannot answer this question.",
    "I can't answer that.",
    "I'm sorry, but I cannot provide that information.",
    "Sorry, I can't help with that.",
    "As an AI language model, I don't have access to real-time information.",
    "As an AI, I cannot answer this question.",
    "As an AI language model, I do not have personal opinions.",
    "The context does not contain the answer.",
    "The provided passages do not mention it.",
    "The passage doesn't say.",
    "Based on the given context, I cannot determine who wrote it.",
    "Based on the provided information, it is not possible to determine the answer.",
    "It cannot be determined from the given information.",
    "I have no idea",
    "No idea.",
    "I have no idea who that is.",
    "idk",
    "Dunno",
    "Not sure",
    "Not specified",
    "The answer is unknown.",
    "The answer is not known",
    "The answer cannot be determined.",
    "It is unknown.",
    "It's unclear.",
    "I'm unable to answer that question.",
    "I am unable to determine the answer.",
    "I don't have enough information to answer this question.",
    "I don't have that information.",
    "I couldn't find any information about that.",
    "Unfortunately, I don't know.",
    "I'm afraid I don't know.",
    "Well, I don't really know.",
    "I really don't know.",
    "I don't know, sorry.",
    "Sorry, I don't know.",
    "Could you please provide more context?",
    "I don't know. Can you give me more information?",
    "I do not know who that is. Please provide more details.",
    " ",
    "...",
    "?",
    "-",
    "I'd rather not say.",
    "no answer",
    "The question cannot be answered based on the context.",
    "I don't recall.",
    "I don't remember.",
    "We don't know.",
    "I'm not familiar with that.",
    "[Unknown]",
    '"I don\'t know"',
    "Insufficient information to answer.",
    "I am not aware of any such person.",
    "I do not have information about that.",
    "The text does not provide enough information to answer the question.",
    "I can't say for sure.",
    "This information is not provided in the text.",
    "Unanswerable",
    "i dont know",
    "Cannot answer",
    "Unable to determine",
    "Cannot be determined",
    "It is not mentioned in the passage.",
    "There isn't enough information to answer.",
    "I don't have an answer for that.",
    "I'm not sure what the answer is.",
    "I am not sure who wrote it.",
    "I don’t have any information on that topic.",
    "information not available",
    "I have no information about this.",
    "My apologies, but I am not able to answer that question.",
    "I don't have knowledge of that event.",
    "Sorry, but I do not know.",
]

ANSWERS = [
    "I don't know whether Lyon was ever the capital, but the answer is Paris",
    "I don't know whether it was 1923 or 1924, but the answer is Paris.",
    "I Don't Know How She Does It",
    "i don't know how she does it",
    "I Don't Know How to Love Him",
    "Unknown Pleasures",
    "unknown pleasures",
    "Unknown Mortal Orchestra",
    "The Unknown Soldier",
    "Paris",
    "I'm not sure, but I think it's Paris.",
    "I'm not sure, Paris?",
    "I am not certain, but probably 1998",
    "I Can't Get No Satisfaction",
    "(I Can't Get No) Satisfaction",
    "can't help falling in love",
    "I Can't Help Myself",
    "i can't tell you why",
    "I can't give everything away",
    "No",
    "No.",
    "None",
    "none",
    "Na",
    "NA",
    "0",
    "nil",
    "Not Paris",
    "Not",
    "undefined",
    "The Tomb of the Unknowns",
    "There is no evidence that vaccines cause autism.",
    "It is impossible to determine both position and momentum.",
    "Position and momentum cannot be determined simultaneously.",
    "The animal cannot be found in the wild.",
    "No data loss",
    "Information theory",
    "No Country for Old Men",
    "No Way Home",
    "I, Robot",
    "@",
    "%",
    "+",
    "∞",
    "The Context of No Context",
    "Anonymous",
    "Idaho",
    "I think so",
    "I do not think so",
    "I don't",
    "Don't Know Much",
    "I don't know why you say goodbye",
    "Nobody knows the trouble I've seen",
    "What Women Want",
    "who",
    "As You Like It",
    "Sorry, the answer is Paris.",
    "I'm sorry to hear that. The capital is Paris.",
    "Unfortunately, it was Paris.",
    "As an AI language model, I can tell you that Paris is the capital.",
    "The Great Unknown",
    "Insufficient funds",
    "The question is moot",
    "Unsure Start",
    "Uncertainty principle",
    "He does not know",
    "She cannot answer because she is mute",
    "The information paradox",
    "Sorry",
    "Apologies",
    "No Information Age",
    "Unbreakable",
    "Not Fade Away",
    "Not enough oxygen",
    "The passage of time",
    "Please Please Me",
    "Help!",
    "I Want to Hold Your Hand",
    "The speed is 5 m/s, which cannot be determined by the naked eye.",
    "I don't know, Paris?",
    "I know: Paris",
    "unknown to science until 1938, the coelacanth",
    "a known unknown",
    "I Don't Want to Miss a Thing",
    "I Can't Tell You Why",
    "The Man Who Knew Too Much",
    "Who Knows Where the Time Goes",
    "I don't know. Paris?",
    "I'm not sure. It might be Paris.",
    "I have no mouth and I must scream",
]


@pytest.mark.parametrize("text", DECLINES)
def test_declining_is_recognised_in_many_wordings(text: str) -> None:
    """Refusals, ignorance, missing context, and nothing at all."""
    assert is_non_answer(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers_are_never_taken_for_refusals(text: str) -> None:
    """Titles, hedged answers, true statements about ignorance, short answers and symbols."""
    assert not is_non_answer(text)


@pytest.mark.parametrize("text", [text for text in DECLINES if text.strip(" .?-")])
def test_an_answer_after_a_refusal_is_an_answer(text: str) -> None:
    """Whoever goes on to answer has answered."""
    assert not is_non_answer(f"{text.rstrip('.')}, but the answer is Paris.")
    assert not is_non_answer(f"{text.rstrip('.')}. However, it is Paris.")


@pytest.mark.parametrize("text", DECLINES)
def test_quotes_case_and_space_change_nothing(text: str) -> None:
    """As samples of one refusal differ."""
    assert is_non_answer(f"  {text.replace(chr(39), '’')}  ")
    assert is_non_answer(text.lower())


@given(st.text(" .,;:!?-\t\n", max_size=30))
def test_punctuation_alone_is_no_answer(text: str) -> None:
    """Nor is an empty text."""
    assert is_non_answer(text)


@given(st.text(st.characters(categories=["Nd", "Sm", "Sc"]), min_size=1, max_size=20))
def test_numbers_and_symbols_are_answers(text: str) -> None:
    """ "+" answers which operator is meant."""
    assert not is_non_answer(text)


@pytest.mark.parametrize("unit", ["the ", "sorry ", "i do not have ", "given ", "I don't know. ", "-'", "a" * 50])
def test_long_text_is_judged_quickly(unit: str) -> None:
    """No pattern backtracks without bound."""
    started = time.perf_counter()
    is_non_answer(unit * (1500 // len(unit)))
    is_non_answer(unit * (40_000 // len(unit)))
    assert time.perf_counter() - started < 10


def test_refusal_fraction_is_a_share_of_the_texts() -> None:
    """Two of four."""
    assert refusal_fraction(["Paris", "I don't know", "", "Lyon"]) == 0.5
