"""Look up only what the model does not know: a loop over a small set of documents."""

from pathlib import Path

from demur_client import Demur, RagLoop

DOCUMENTS = [path.read_text().strip() for path in sorted((Path(__file__).parent / "documents").glob("*.txt"))]


def search(question: str, attempt: int) -> list[str]:
    """The document that shares most long words with the question; your search goes here."""
    wanted = {word.strip("?.,").lower() for word in question.split() if len(word) > 3}
    shared = {text: len(wanted & set(text.lower().rstrip(".").split())) for text in DOCUMENTS}
    best = max(DOCUMENTS, key=lambda text: shared[text])
    return [best] if shared[best] > 1 else []


with Demur() as demur:
    loop = RagLoop(demur, search, options={"sampling": {"seed": 1}, "on_abstain": "omit"})
    for question in ("What is the capital of Peru?", "What is the capital of Wendor?", "Who is the king of Velm?"):
        outcome = loop.run(question)
        print(question)
        for step in outcome.trace:
            print(f"  {len(step.passages)} passages: {step.result.decision} ({step.result.reason})")
        print("  ->", outcome.answer if outcome else "no answer")
