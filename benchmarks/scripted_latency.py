"""A language model of stated speed: written answers that arrive as those of a 7B model on a GPU would.

Latencies are independent draws from a log-normal distribution with a median of 1 s (5 to 95 %: 0.5 to 1.9 s), because
answers differ in length; the slowest of eleven takes 1.8 s in the median. The answers are written by hand: what a small
instruction model says to questions that it knows, half knows and does not know, in the wordings that it would use. Ten
samples hold 4.5 distinct texts in the mean, as those of 7 and 8 B models on TriviaQA do (4.6).
"""

from __future__ import annotations

import random

from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.types import Sampling

MEDIAN_SECONDS = 1.0
SIGMA = 0.4

# For each question its answers, the greedy one first, with how often (in ten samples) each is drawn.
ANSWERS: dict[str, list[tuple[int, str]]] = {
    "What is the capital of Australia?": [
        (4, "The capital of Australia is Canberra."),
        (2, "Canberra."),
        (1, "Canberra is the capital of Australia."),
        (1, "The capital city of Australia is Canberra."),
        (1, "Australia's capital is Canberra, in the Australian Capital Territory."),
        (1, "The capital of Australia is Sydney."),
    ],
    "Who wrote the novel Middlemarch?": [
        (3, "Middlemarch was written by George Eliot."),
        (2, "George Eliot wrote Middlemarch."),
        (2, "George Eliot, the pen name of Mary Ann Evans, wrote Middlemarch."),
        (1, "The novel Middlemarch was written by the English author George Eliot."),
        (1, "Middlemarch was written by Mary Ann Evans."),
        (1, "The author of Middlemarch is George Eliot."),
    ],
    "Which river flows through Kraków?": [
        (5, "The Vistula River flows through Kraków."),
        (2, "The Vistula."),
        (1, "Kraków lies on the Vistula (Wisła)."),
        (1, "The river that flows through Kraków is the Vistula."),
        (1, "The Wisła flows through Kraków."),
    ],
    "Who discovered the element hafnium?": [
        (3, "Hafnium was discovered by Dirk Coster and George de Hevesy."),
        (2, "Dirk Coster and George de Hevesy discovered hafnium in 1923."),
        (2, "Hafnium was discovered by George de Hevesy."),
        (1, "Hafnium was discovered by Georges Urbain."),
        (1, "It was discovered by Niels Bohr."),
        (1, "Marie Curie discovered hafnium."),
    ],
    "What year did the Tay Bridge collapse?": [
        (4, "The Tay Bridge collapsed in 1879."),
        (2, "1879"),
        (1, "The Tay Bridge collapsed on 28 December 1879."),
        (1, "The Tay Bridge disaster happened in 1879."),
        (1, "It collapsed in December 1879, during a storm."),
        (1, "The Tay Bridge collapsed in 1878."),
    ],
    "Who founded the town of Coober Pedy?": [
        (2, "Coober Pedy was founded by Wille Hutchison."),
        (2, "Coober Pedy was founded by James Hutchison in 1915."),
        (2, "The town was founded by opal miners."),
        (1, "Coober Pedy was founded by John McDouall Stuart."),
        (1, "William Hutchison founded it after finding opal there."),
        (1, "I'm not sure who founded Coober Pedy."),
        (1, "It was founded by Charles Sturt."),
    ],
    "Which gas makes up most of the air?": [
        (7, "Nitrogen makes up most of the air."),
        (2, "Nitrogen"),
        (1, "Most of the air, about 78 percent, is nitrogen."),
    ],
    "Who painted The Night Watch?": [
        (3, "The Night Watch was painted by Rembrandt."),
        (2, "Rembrandt van Rijn painted The Night Watch."),
        (1, "Rembrandt."),
        (1, "The Night Watch was painted by Rembrandt van Rijn."),
        (1, "The Night Watch is a painting by Rembrandt, finished in 1642."),
        (1, "It was painted by the Dutch master Rembrandt in 1642."),
    ],
    "What is the tallest mountain in Slovenia?": [
        (4, "The tallest mountain in Slovenia is Triglav."),
        (2, "Mount Triglav is the tallest mountain in Slovenia."),
        (1, "Triglav, at 2,864 metres."),
        (1, "The tallest mountain in Slovenia is Mount Triglav, in the Julian Alps."),
        (1, "Triglav"),
        (1, "The tallest mountain in Slovenia is Škrlatica."),
    ],
    "Who was the second wife of Count Rumford?": [
        (2, "The second wife of Count Rumford was Marie-Anne Lavoisier."),
        (2, "Count Rumford's second wife was Marie-Anne Paulze, the widow of Lavoisier."),
        (1, "His second wife was Sarah Walker."),
        (1, "Count Rumford married Mary Nogarola."),
        (1, "The second wife of Count Rumford was Sarah Thompson."),
        (1, "Count Rumford had no second wife."),
        (1, "His second wife was Laura Temple."),
        (1, "I don't know."),
    ],
    "In which country is the town of Timișoara?": [
        (8, "Timișoara is in Romania."),
        (1, "Romania"),
        (1, "The town of Timișoara is located in western Romania."),
    ],
    "What do Geiger counters measure?": [
        (3, "Geiger counters measure ionizing radiation."),
        (2, "Geiger counters measure radiation."),
        (1, "They measure radioactivity."),
        (1, "Geiger counters detect alpha, beta and gamma radiation."),
        (1, "Geiger counters measure the level of ionizing radiation in the environment."),
        (1, "A Geiger counter measures how radioactive something is."),
        (1, "Geiger counters measure radiation levels."),
    ],
    "Who composed the opera Rusalka?": [
        (4, "The opera Rusalka was composed by Antonín Dvořák."),
        (2, "Antonín Dvořák composed Rusalka."),
        (1, "Rusalka is an opera by the Czech composer Antonín Dvořák."),
        (1, "Rusalka was composed by Bedřich Smetana."),
        (1, "Dvořák."),
    ],
    "How many moons does Uranus have?": [
        (5, "Uranus has 27 known moons."),
        (2, "Uranus has 27 moons."),
        (1, "Uranus has 28 known moons."),
        (1, "27"),
        (1, "Uranus has 13 moons."),
    ],
    "What is the main ingredient of tempeh?": [
        (4, "The main ingredient of tempeh is soybeans."),
        (1, "Soybeans."),
        (1, "Tempeh is made from fermented soybeans."),
        (1, "The main ingredient of tempeh is soy."),
        (1, "Tempeh is made mainly of soybeans."),
        (1, "The main ingredient in tempeh is fermented soybeans."),
        (1, "The main ingredient of tempeh is whole soybeans, bound by a mould."),
    ],
    "Who was the first harbour master of Port Arthur?": [
        (1, "The first harbour master of Port Arthur was William Moriarty."),
        (1, "The first harbour master of Port Arthur was Charles O'Hara Booth."),
        (1, "It was Captain James Kelly."),
        (1, "John Lort Stokes was the first harbour master."),
        (1, "The first harbour master was Captain Samuel Lapham."),
        (1, "I don't have information about the first harbour master of Port Arthur."),
        (1, "The first harbour master of Port Arthur was Thomas Lempriere."),
        (1, "Captain William Wilson."),
        (1, "It was Peter Scott."),
        (1, "The first harbour master was George Arthur."),
    ],
    "Which planet rotates on its side?": [
        (7, "Uranus rotates on its side."),
        (2, "Uranus."),
        (1, "The planet that rotates on its side is Uranus."),
    ],
    "What language is spoken in Andorra?": [
        (3, "The language spoken in Andorra is Catalan."),
        (2, "Catalan is the official language of Andorra."),
        (1, "Catalan"),
        (1, "The official language of Andorra is Catalan."),
        (1, "In Andorra people speak Catalan, Spanish and French."),
        (1, "Catalan is spoken in Andorra."),
        (1, "Spanish is spoken in Andorra."),
    ],
    "Who invented the safety pin?": [
        (4, "The safety pin was invented by Walter Hunt."),
        (2, "Walter Hunt invented the safety pin in 1849."),
        (1, "Walter Hunt."),
        (1, "The safety pin was invented in 1849 by the American mechanic Walter Hunt."),
        (1, "The inventor of the safety pin was Walter Hunt."),
        (1, "The safety pin was invented by Elias Howe."),
    ],
    "What caused the Great Stink of London?": [
        (2, "The Great Stink was caused by untreated sewage in the River Thames during the hot summer of 1858."),
        (1, "Hot weather and human waste in the Thames caused the Great Stink."),
        (1, "It was caused by sewage in the Thames."),
        (1, "The Great Stink was caused by industrial waste."),
        (1, "The smell of untreated human waste on the banks of the Thames in hot weather."),
        (1, "It was caused by the lack of a modern sewer system in London."),
        (1, "Sewage that was dumped into the Thames, and a heat wave in 1858."),
        (
            1,
            "The Great Stink was caused by hot weather, which made the smell of sewage in the Thames worse.",
        ),
        (1, "Raw sewage flowing into the Thames caused the Great Stink."),
    ],
}


def seven_b_sampler() -> ScriptedSampler:
    """The same seed gives the same answers at the same moments."""
    return ScriptedSampler(_script, model="scripted-7b")


def _script(question: str, sampling: Sampling) -> list[ScriptedAnswer]:
    random_ = random.Random(f"{sampling.seed} {question}")
    weights, texts = zip(*ANSWERS[question], strict=True)
    drawn = [texts[0], *random_.choices(texts, weights, k=sampling.n)]
    return [ScriptedAnswer(text, delay_seconds=MEDIAN_SECONDS * random_.lognormvariate(0.0, SIGMA)) for text in drawn]
