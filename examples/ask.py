"""Ask, look at the evidence, say whether it was right."""

from demur_client import Demur

QUESTIONS = {"What is the capital of Peru?": "Lima", "Who won the chess tournament in Velm?": None}

with Demur() as demur:
    for question, truth in QUESTIONS.items():
        result = demur.answer(question, sampling={"seed": 1})
        print(f"{result.decision:9}{question} {result.answer!r}")
        print(f"         {result.uncertainty.num_clusters} meanings, entropy {result.uncertainty.semantic_entropy:.2f}")
        if truth is not None and result.answer and result.stored:
            demur.feedback.create(result.id, "correct" if truth in result.answer else "incorrect")
