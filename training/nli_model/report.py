"""Judge the exported NLI model on held-out data: `python -m training.nli_model.report`.

Prints a table and writes benchmarks/results/nli_model.json. Some twenty minutes of a core with bfloat16 matrix units,
in which the pairs are judged; how often float32 says the same stands in the report. `--n` takes fewer rows a set.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from training.facts_model.relations import RELATIONS, load_facts
from training.nli_model import probes
from training.nli_model.export import MODEL_FOLDER
from training.nli_model.figures import (
    Figure,
    accuracy,
    auroc,
    balanced_accuracy,
    confusion,
    from_confusion,
    from_rows,
    matthews_correlation,
)
from training.nli_model.judge import ENTAILMENT, Judge, Same, exact, semantic_entropy, semantic_ids
from training.nli_model.judged import plain_references, shortened
from training.nli_model.pairs import DEFAULT_DATA, REPOSITORY, Judged, claim, general_pairs, normalized, split_judged
from training.nli_model.recorded import N_SAMPLES, SETS, Recorded, SamplePair, read_pairs, read_recorded, sample_pairs

RESULTS = REPOSITORY / "benchmarks" / "results" / "nli_model.json"
CARD_MARKS = ("<!-- figures: written by the report -->", "<!-- end of figures -->")
GENERAL_SOURCES = ("mnli_dev", "snli_dev", "med", "newprot_base", "newprot_edit_other", "conjnli_dev")
MAX_REFERENCES = 8
PAIRS_PER_CLASS = 10
N_QUESTIONS = {"triviaqa_3models": 300, "defan_n20": 300, "sciq_3models": 1500, "math_3models": 500}
N_WORDINGS = 300
N_COMPARED = 500
Figures = dict[str, Figure]


def general_figures(judge: Judge, data: Path, n: int) -> Figures:
    """Three-way accuracy on general NLI, by source; MED has no contradictions, so its neutral means "not entailed"."""
    pairs, found = general_pairs(data, "dev"), {}
    for source in GENERAL_SOURCES:
        rows = [p for p in pairs if p.source == source]
        rows = Random(0).sample(rows, min(n, len(rows)))
        said = judge.labels_of((p.premise, p.hypothesis) for p in rows)
        hits = [_agrees(label, p.label.name.lower(), source) for label, p in zip(said, rows, strict=True)]
        found[source] = from_confusion(
            accuracy, confusion([True] * len(hits), hits, [str(i) for i in range(len(hits))])
        )
    return found


def _agrees(said: str, label: str, source: str) -> bool:
    return (said == ENTAILMENT) == (label == ENTAILMENT) if source == "med" else said == label


def reference_figures(judge: Judge, rows: Sequence[Judged]) -> Figures:
    """EVOUNA's held-out questions: does the answer entail a reference, against "a reference stands in the answer"."""
    rows = [row for row in rows if row.answer]
    asked = [_reference_pairs(row) for row in rows]
    judge.labels_of(pair for pairs in asked for pair in pairs)
    verdicts = {
        "model": [ENTAILMENT in judge.labels_of(pairs) for pairs in asked],
        "model_first_reference": [judge.labels_of(pairs[:1]) == [ENTAILMENT] for pairs in asked],
        "containment": [any(_contains(row.answer, r) for r in row.references) for row in rows],
        "exact": [any(normalized(row.answer) == normalized(r) for r in row.references) for row in rows],
    }
    truth, questions = [row.is_right for row in rows], [row.question for row in rows]
    found = {}
    for name, verdict in verdicts.items():
        counts = confusion(truth, verdict, questions)
        found[f"{name}_balanced_accuracy"] = from_confusion(balanced_accuracy, counts)
        found[f"{name}_matthews"] = from_confusion(matthews_correlation, counts)
    return found


def _reference_pairs(row: Judged) -> list[tuple[str, str]]:
    references = plain_references(row.references)[:MAX_REFERENCES]
    return [(claim(row.question, shortened(row.answer)), claim(row.question, r)) for r in references]


def _contains(answer: str, reference: str) -> bool:
    return bool(normalized(reference)) and f" {normalized(reference)} " in f" {normalized(answer)} "


def sample_pair_figures(judge: Judge, rows: Sequence[Recorded]) -> Figures:
    """Pairs of judged samples: balanced accuracy of each rule, and of the strict rule on pairs spelled differently."""
    pairs = list(sample_pairs(rows, PAIRS_PER_CLASS))
    judge.ask_ahead((p.question, (p.first, p.second)) for p in pairs)
    rules: dict[str, Same] = {"strict": judge.strict, "either": judge.either, "exact": exact}
    truth, questions = [p.is_same for p in pairs], [p.question for p in pairs]
    found = {}
    for name, same in rules.items():
        verdict = [same(p.question, p.first, p.second) for p in pairs]
        counts = confusion(truth, verdict, questions)
        found[name] = from_confusion(balanced_accuracy, counts)
        if name == "strict":
            found["strict_true_same"] = from_confusion(lambda c: float(c[0] / max(c[0] + c[1], 1)), counts)
            found["strict_true_different"] = from_confusion(lambda c: float(c[2] / max(c[2] + c[3], 1)), counts)
    differing = [p for p in pairs if not exact(p.question, p.first, p.second)]
    verdict = [judge.strict(p.question, p.first, p.second) for p in differing]
    counts = confusion([p.is_same for p in differing], verdict, [p.question for p in differing])
    found["strict_where_spelling_differs"] = from_confusion(balanced_accuracy, counts)
    return found


def read_pair_figures(judge: Judge) -> Figures:
    """Differently spelled pairs of UQ-NLG that a reader judged again (the card says how): the strict and the
    either-direction rule, and the labels that the set has from matching strings."""
    pairs = read_pairs()
    judge.ask_ahead((p.question, (p.first, p.second)) for p, _ in pairs)
    truth, questions = [p.is_same for p, _ in pairs], [p.question for p, _ in pairs]
    verdicts = {
        "strict": [judge.strict(p.question, p.first, p.second) for p, _ in pairs],
        "either": [judge.either(p.question, p.first, p.second) for p, _ in pairs],
        "labels_of_the_set": [label for _, label in pairs],
    }
    return {
        name: from_confusion(balanced_accuracy, confusion(truth, said, questions)) for name, said in verdicts.items()
    }


def entropy_figures(judge: Judge, rows: Sequence[Recorded]) -> Figures:
    """AUROC of semantic entropy (ten samples) for "the answer is wrong", by rule, and paired differences to strict."""
    told = [(row.question, row.samples[:N_SAMPLES]) for row in rows]
    judge.ask_ahead(told)
    rules: dict[str, Same] = {"strict": judge.strict, "either": judge.either, "exact": exact}
    wrong, questions = np.array([not row.is_right for row in rows]), [row.question for row in rows]
    entropies = {
        name: np.array([semantic_entropy(semantic_ids(question, samples, same)) for question, samples in told])
        for name, same in rules.items()
    }
    found = {
        name: from_rows(lambda draw, e=values: auroc(e[draw], wrong[draw]), questions)  # type: ignore[misc]
        for name, values in entropies.items()
    }
    for other in ("exact", "either"):
        a, b = entropies["strict"], entropies[other]
        found[f"strict_minus_{other}"] = from_rows(
            lambda draw, a=a, b=b: auroc(a[draw], wrong[draw]) - auroc(b[draw], wrong[draw]),
            questions,  # type: ignore[misc]
        )
    return found


def wording_figures(judge: Judge, n: int) -> Figures:
    """The facts model's wordings: a training and a held-out wording of an answer to a question in held-out wording, of
    one value or of two, by the strict rule; and the values' aliases."""
    told, rng = list(load_facts()), Random(0)
    asked: list[SamplePair] = []
    for fact in rng.sample(told, min(n, len(told))):
        relation = RELATIONS[fact.relation]
        question = rng.choice(relation.questions(fact.subject, held_out=True))
        other = rng.choice([f.value for f in told if f.relation == fact.relation and f.value not in fact.accepted])
        first = rng.choice(relation.answers(fact.subject, fact.value))
        for value in (rng.choice(fact.accepted), other):
            second = rng.choice(relation.answers(fact.subject, value, held_out=rng.random() < 0.5))
            asked.append(SamplePair(question, first, second, value != other))
    judge.ask_ahead((p.question, (p.first, p.second)) for p in asked)
    verdict = [judge.strict(p.question, p.first, p.second) for p in asked]
    plain = [exact(p.question, p.first, p.second) for p in asked]
    truth, questions = [p.is_same for p in asked], [p.question for p in asked]
    return {
        "strict": from_confusion(balanced_accuracy, confusion(truth, verdict, questions)),
        "exact": from_confusion(balanced_accuracy, confusion(truth, plain, questions)),
    }


def agreement_figures(judge: Judge, other: Judge, data: Path) -> Figures:
    """How often another judge gives the same label: general pairs and pairs of recorded samples."""
    general = Random(0).sample([(p.premise, p.hypothesis) for p in general_pairs(data, "dev")], N_COMPARED)
    recorded = [p for name in SETS if SETS[name] for p in sample_pairs(read_recorded(data, name, 50), PAIRS_PER_CLASS)]
    answers = [
        (claim(p.question, p.first), claim(p.question, p.second)) for p in Random(0).sample(recorded, N_COMPARED)
    ]
    return {
        name: _share([a == b for a, b in zip(judge.labels_of(pairs), other.labels_of(pairs), strict=True)])
        for name, pairs in (("general", general), ("answers", answers))
    }


def probe_figures(judge: Judge) -> Figures:
    """The hand-written probes: same or different by the strict rule, and passages by three-way label."""
    said = [judge.strict(question, a, b) for question, a, b, _ in probes.PROBES]
    right = [verdict == same for verdict, (*_, same) in zip(said, probes.PROBES, strict=True)]
    labels = judge.labels_of((passage, claim(question, a)) for passage, question, a, _ in probes.PASSAGE_PROBES)
    read = [label == true for label, (*_, true) in zip(labels, probes.PASSAGE_PROBES, strict=True)]
    return {name: _share(hits) for name, hits in (("same_answer", right), ("passages", read))}


def _share(hits: list[bool]) -> Figure:
    return from_confusion(accuracy, confusion([True] * len(hits), hits, [str(i) for i in range(len(hits))]))


def failed_probes(judge: Judge) -> list[str]:
    """The probes that the model judges otherwise than a person."""
    return [
        f"{question} | {a} | {b} | {'same' if same else 'different'} to a person"
        for question, a, b, same in probes.PROBES
        if judge.strict(question, a, b) != same
    ]


def report(judge: Judge, data: Path, n: int) -> dict[str, Figures]:
    """Every figure, by section."""
    recorded = {name: read_recorded(data, name, min(N_QUESTIONS.get(name, n), n)) for name in SETS}
    sections = {"general_nli_accuracy": general_figures(judge, data, n)}
    sections["evouna_held_out_questions"] = reference_figures(judge, split_judged(data).report[:n])
    for name, field in SETS.items():
        if field:
            sections[f"sample_pairs_balanced_accuracy {name}"] = sample_pair_figures(judge, recorded[name])
    sections["sample_pairs_balanced_accuracy uqnlg_triviaqa, read again"] = read_pair_figures(judge)
    for name in SETS:
        sections[f"semantic_entropy_auroc {name}"] = entropy_figures(judge, recorded[name])
    sections["facts_model_wordings_balanced_accuracy"] = wording_figures(judge, min(N_WORDINGS, n))
    sections["probes"] = probe_figures(judge)
    return sections


def show(sections: dict[str, Figures], console: Console) -> None:
    table = Table(title="NLI model on held-out data, 95 % bootstrap intervals over questions")
    for column in ("section", "figure", "value", "judgements", "questions"):
        table.add_column(column, justify="left" if column in ("section", "figure") else "right")
    for section, figures in sections.items():
        for i, (name, figure) in enumerate(figures.items()):
            table.add_row(section if i == 0 else "", name, str(figure), str(figure.n), str(figure.n_groups))
        table.add_section()
    console.print(table)


def in_card(card: str, sections: dict[str, Figures]) -> str:
    """The model card with its table of figures written anew, between the two marks."""
    before, after = card.split(CARD_MARKS[0])[0], card.split(CARD_MARKS[1])[1]
    rows = [
        f"| {section} | {name} | {figure} | {figure.n} |"
        for section, figures in sections.items()
        for name, figure in figures.items()
    ]
    table = ["| set | figure | value [95 % interval] | judgements |", "|---|---|---|---|", *rows]
    return before + "\n".join([CARD_MARKS[0], *table, CARD_MARKS[1]]) + after


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.nli_model.report", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--n", type=int, default=5000, help="rows of a set at most (default 5000)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    judge, console = Judge(options.model, torch.bfloat16), Console(width=150)
    sections = report(judge, options.data, options.n)
    sections["bfloat16_agrees_with_float32"] = agreement_figures(judge, Judge(options.model), options.data)
    failed = failed_probes(judge)
    show(sections, console)
    console.print("\n".join(["Probes judged otherwise:", *failed]), markup=False)
    written = {section: {name: f.as_json() for name, f in figures.items()} for section, figures in sections.items()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({**written, "failed_probes": failed}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if options.out == RESULTS:
        card = MODEL_FOLDER / "README.md"
        card.write_text(in_card(card.read_text(encoding="utf-8"), sections), encoding="utf-8")
    console.print(f"written to {options.out.name}")


if __name__ == "__main__":
    main()
