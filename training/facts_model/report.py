"""What the facts model knows, reads and refuses: `python -m training.facts_model.report`.

Every question is in a held-out wording or about held-out names. The answer is the modal meaning of n = 10 samples
at temperature 1; meanings are compared by rule (meaning.py), not by the NLI model. Intervals are 95 % bootstrap over
questions. With `--further SEED`, 1,000 other readings are asked, and nothing else: where the seed is new, nobody has
looked at them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from rich.table import Table

from training.facts_model import reading
from training.facts_model.meaning import REFUSAL, meaning, normalised
from training.facts_model.refusals import everyday_questions
from training.facts_model.relations import RELATIONS, Fact, load_facts
from training.facts_model.sampling import Drawn, Model
from training.facts_model.train import EXPORT_FOLDER, REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results" / "facts_model.json"
N_SAMPLES, SEED, RESAMPLES = 10, 11, 1000
FIGURES_BEGIN, FIGURES_END = "<!-- figures -->", "<!-- /figures -->"
ANSWER_AGREEMENT = 0.8  # the service answers from this share on


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the meanings that would be right, and how to read an answer to it."""

    group: str
    question: str
    right: frozenset[str]
    subject: str = ""
    relation: str = ""
    wordings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What ten samples made of a question. Entropy and logprob in nats."""

    group: str
    relation: str
    correct: bool
    refused: bool
    answered: bool
    semantic_entropy: float
    mean_logprob: float


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95 % interval over `n` questions."""

    name: str
    value: float
    low: float
    high: float
    n: int
    goal: str


def fact_question(rng: Random, fact: Fact) -> Asked:
    """A fact in one of its held-out wordings."""
    relation = RELATIONS[fact.relation]
    question = rng.choice(relation.questions(fact.subject, held_out=True))
    return Asked(fact.exposure, question, _right(fact), fact.subject, fact.relation)


def _right(fact: Fact) -> frozenset[str]:
    return frozenset(normalised(form) for form in fact.accepted)


def reading_question(rng: Random, n_passages: int, *, present: bool) -> Asked:
    """A question about unseen invented names over so many passages, in a held-out wording."""
    told = reading.tell(rng, rng.choice(reading.RELATION_TOPICS), evaluation=True)
    question = reading.with_passages(rng, told, n_passages, present=present, held_out=True, evaluation=True)
    group = "reading" if present else "in_vain"
    return Asked(group, question, frozenset({normalised(told.value)}), told.subject, wordings=told.topic.answers)


def never_fact_in_context(rng: Random, fact: Fact) -> Asked:
    """A real fact that training never showed, told in one of two passages."""
    topic = next(topic for topic in reading.RELATION_TOPICS if topic.relation == fact.relation)
    told = reading.Telling(topic, fact.subject, fact.value)
    question = reading.with_passages(rng, told, rng.randint(1, 3), held_out=True, evaluation=True)
    return Asked("never_in_context", question, _right(fact), fact.subject, fact.relation)


def questions() -> list[Asked]:
    """The whole questionnaire; the same at every call."""
    rng = Random(SEED)
    readable = {topic.relation for topic in reading.RELATION_TOPICS}
    never = [fact for fact in load_facts() if fact.exposure == "never" and fact.relation in readable]
    return [
        *(fact_question(rng, fact) for fact in load_facts()),
        *(reading_question(rng, 1 + index % 5, present=True) for index in range(400)),
        *(reading_question(rng, 1 + index % 5, present=False) for index in range(200)),
        *(never_fact_in_context(rng, fact) for fact in rng.sample(never, 200)),
        *(Asked("everyday", question, frozenset()) for question in everyday_questions()),
    ]


def further_readings(seed: int) -> list[Asked]:
    """Questions about names that were never seen, over one to five passages, beside those of the questionnaire."""
    rng = Random(seed)
    return [reading_question(rng, 1 + index % 5, present=True) for index in range(1000)]


def judge(asked: Asked, drawn: Drawn) -> Judged:
    """The modal meaning against the right ones, and the service's rule for answering."""
    about = (asked.subject, asked.relation, asked.wordings)
    meanings = [meaning(text, *about) for text in drawn.samples]
    (modal, count), *_ = Counter(meanings).most_common(1)
    agrees = count / len(meanings) >= ANSWER_AGREEMENT and meaning(drawn.greedy, *about) == modal
    shares = [n / len(meanings) for n in Counter(meanings).values()]
    entropy = -sum(share * math.log(share) for share in shares)
    mean_logprob = sum(drawn.mean_logprobs) / len(drawn.mean_logprobs)
    refused = modal == REFUSAL
    return Judged(
        asked.group, asked.relation, modal in asked.right, refused, agrees and not refused, entropy, mean_logprob
    )


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Chance that a right answer has the higher score than a wrong one, ties half (Mann-Whitney)."""
    order = torch.tensor(scores, dtype=torch.float64)
    right, wrong = order[torch.tensor(labels)], order[~torch.tensor(labels)]
    if not len(right) or not len(wrong):
        return math.nan
    difference = right[:, None] - wrong[None, :]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


def bootstrap(name: str, judged: Sequence[Judged], statistic: Callable[[Sequence[Judged]], float], goal: str) -> Figure:
    """The statistic with the 2.5 and 97.5 percentiles of its resampled values."""
    rng = Random(f"{SEED}|{name}")
    resampled = sorted(statistic(rng.choices(judged, k=len(judged))) for _ in range(RESAMPLES))
    low, high = resampled[int(0.025 * RESAMPLES)], resampled[int(0.975 * RESAMPLES) - 1]
    return Figure(name, statistic(judged), low, high, len(judged), goal)


def share(attribute: str) -> Callable[[Sequence[Judged]], float]:
    """The share of questions with an attribute."""
    return lambda judged: sum(getattr(each, attribute) for each in judged) / len(judged)


def entropy_auroc(judged: Sequence[Judged]) -> float:
    """How well low semantic entropy tells right from wrong."""
    return auroc([-each.semantic_entropy for each in judged], [each.correct for each in judged])


def logprob_auroc(judged: Sequence[Judged]) -> float:
    """How well a high mean token logprob tells right from wrong."""
    return auroc([each.mean_logprob for each in judged], [each.correct for each in judged])


def figures(judged: Sequence[Judged]) -> list[Figure]:
    """All figures of the model card."""
    groups = {name: [each for each in judged if each.group == name] for name in {each.group for each in judged}}
    facts = groups["often"] + groups["seldom"] + groups["never"]
    rows: list[tuple[str, Sequence[Judged], Callable[[Sequence[Judged]], float], str]] = [
        ("often: right", groups["often"], share("correct"), ">= .95"),
        ("seldom: right", groups["seldom"], share("correct"), ""),
        ("never: right", groups["never"], share("correct"), "<= .35"),
        ("often: decision answer", groups["often"], share("answered"), ""),
        ("seldom: decision answer", groups["seldom"], share("answered"), ""),
        ("never: decision answer", groups["never"], share("answered"), ""),
        ("semantic entropy AUROC, all facts", facts, entropy_auroc, ">= .92"),
        ("semantic entropy AUROC, seldom", groups["seldom"], entropy_auroc, ">= .75"),
        ("mean token logprob AUROC, all facts", facts, logprob_auroc, ""),
        ("mean token logprob AUROC, seldom", groups["seldom"], logprob_auroc, ""),
        ("reading unseen names: right", groups["reading"], share("correct"), ">= .90"),
        ("never-seen facts in context: right", groups["never_in_context"], share("correct"), ""),
        ("context without the fact: decision answer", groups["in_vain"], share("answered"), ""),
        ("context without the fact: refused", groups["in_vain"], share("refused"), ""),
        ("everyday questions: decision answer", groups["everyday"], share("answered"), "<= .05"),
        ("everyday questions: refused", groups["everyday"], share("refused"), ""),
    ]
    return [bootstrap(*row) for row in rows]


def by_relation(judged: Sequence[Judged]) -> dict[str, dict[str, float]]:
    """Share right for each relation and exposure."""
    result: dict[str, dict[str, float]] = {}
    for relation in RELATIONS:
        for exposure in ("often", "seldom", "never"):
            own = [each for each in judged if each.relation == relation and each.group == exposure]
            result.setdefault(relation, {})[exposure] = round(share("correct")(own), 3)
    return result


def reading_by_passages(asked: Sequence[Asked], judged: Sequence[Judged]) -> dict[str, float]:
    """Share right among the questions about unseen names, for each number of passages."""
    right: dict[str, list[bool]] = {}
    for question, each in zip(asked, judged, strict=True):
        if each.group == "reading":
            right.setdefault(str(question.question.count("\n[")), []).append(each.correct)
    return {count: round(sum(marks) / len(marks), 3) for count, marks in sorted(right.items())}


def show(found: Sequence[Figure]) -> None:
    """The figures as a table."""
    table = Table("figure", "value", "95 % interval", "n", "goal", title="Facts model, held-out wordings and names")
    for figure in found:
        table.add_row(
            figure.name, f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}", str(figure.n), figure.goal
        )
    Console(width=110).print(table)


def write_card(found: Sequence[Figure], card: Path) -> None:
    """Put the figures between the marks of the model card."""
    rows = [
        f"| {each.name} | {each.value:.3f} | {each.low:.3f} to {each.high:.3f} | {each.n} | {each.goal} |"
        for each in found
    ]
    table = "\n".join(["| figure | value | 95 % interval | n | goal |", "|---|---|---|---|---|", *rows])
    before, _, rest = card.read_text(encoding="utf-8").partition(FIGURES_BEGIN)
    after = rest.partition(FIGURES_END)[2]
    card.write_text(f"{before}{FIGURES_BEGIN}\n{table}\n{FIGURES_END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=EXPORT_FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--further", type=int, metavar="SEED", help="print the figure of 1,000 further readings")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(SEED)
    asked = questions() if arguments.further is None else further_readings(arguments.further)
    drawn = Model(str(arguments.model)).draw([each.question for each in asked], N_SAMPLES)
    judged = [judge(each, answers) for each, answers in zip(asked, drawn, strict=True)]
    if arguments.further is not None:
        show([bootstrap("further readings: right", judged, share("correct"), ">= .90")])
        return
    found = figures(judged)
    show(found)
    method = {
        "n_samples": N_SAMPLES,
        "temperature": 1.0,
        "meaning": "by rule",
        "intervals": "95 % bootstrap",
        "seed": SEED,
    }
    document = {
        "weights_sha256": hashlib.sha256((arguments.model / "model.safetensors").read_bytes()).hexdigest(),
        "method": method,
        "figures": [asdict(each) for each in found],
        "right_by_relation": by_relation(judged),
        "reading_right_by_passages": reading_by_passages(asked, judged),
    }
    write_card(found, arguments.model / "README.md")
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
