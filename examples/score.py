"""Rate answers that another model gave: by its own samples, and by samples that Demur draws."""

from demur_client import Demur

QUESTION = "What is the capital of France?"
SAMPLES = ["Paris", "It is Paris.", "The capital of France is Paris.", "Paris", "Lyon"]

with Demur() as demur:
    for answer in ("Paris", "Lyon"):
        rated = demur.score(QUESTION, answer=answer, samples=SAMPLES)
        print(f"{answer}: {rated.uncertainty.agreement:.0%} of its samples agree -> {rated.decision}")
    checked = demur.score(QUESTION, answer="Lyon", sampling={"seed": 1})
    print(f"Lyon: {checked.uncertainty.agreement:.0%} of {checked.model}'s samples agree -> {checked.decision}")
    print("meanings:", demur.cluster(SAMPLES, prompt=QUESTION).assignments)
