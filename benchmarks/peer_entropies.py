"""uqlm, lm-polygraph and the paper's rule over one NLI model: texts in, partition and semantic entropy out.

Run by `benchmarks.peers` in the peers' own environment, which has no Demur in it. One JSON object a line on stdin, and
on stdout for each: {"system", "questions": [{"question", "samples"}], "at_once": n} is answered with the seconds that
all took and, for each question, its own seconds, forward passes, rows in them, partition and entropy;
{"system": "verdicts", "pairs": [[premise, hypothesis], ...]} with probabilities of entailment, neutral and
contradiction, each pair alone.

Every system reads "question answer", but for `lm-polygraph bare`, which reads answers alone, as the library does unless
its user joins them. Passes are counted by a hook on the model, the same for all.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import torch
from lm_polygraph.estimators import SemanticEntropy
from lm_polygraph.stat_calculators import SemanticClassesCalculator, SemanticMatrixCalculator
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from uqlm import SemanticEntropy as UqlmSemanticEntropy
from uqlm.nli.cluster import SemanticClusterer
from uqlm.nli.entropy_utils import compute_response_probabilities, compute_semantic_entropy
from uqlm.nli.nli import NLI

LABELS = ("CONTRADICTION", "NEUTRAL", "ENTAILMENT")
ENTAILMENT = 2

Partition = list[list[int]]
System = Callable[[str, list[str]], tuple[Partition | None, float]]


class Passes:
    """Forward passes of a model, and the rows in them."""

    def __init__(self) -> None:
        self.n, self.rows = 0, 0

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.n += 1
        self.rows += len(kwargs["input_ids"])

    def seconds_each(self) -> float:
        """What counting costs."""
        kwargs = {"input_ids": torch.zeros(4, 4)}
        started = perf_counter()
        for _ in range(10_000):
            Passes.__call__(self, None, (), kwargs)
        self.n = self.rows = 0
        return (perf_counter() - started) / 10_000


def canonical(source: Path, target: Path) -> None:
    """The same weights with the head's rows in the order that uqlm takes for granted, under lm-polygraph's names."""
    model = AutoModelForSequenceClassification.from_pretrained(source)
    place = {name.upper(): at for name, at in model.config.label2id.items()}
    order = [place[name] for name in LABELS]
    model.classifier.weight.data = model.classifier.weight.data[order].clone()
    model.classifier.bias.data = model.classifier.bias.data[order].clone()
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {name: at for at, name in enumerate(LABELS)}
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source).save_pretrained(target)


class PolygraphModel:
    """What lm-polygraph asks of its NLI model; its own class loads DeBERTa alone. Its batch size."""

    batch_size = 10

    def __init__(self, nli: NLI) -> None:
        self.deberta, self.deberta_tokenizer, self.device = nli.model, nli.tokenizer, "cpu"


class Systems:
    def __init__(self, folder: Path) -> None:
        self.nli = NLI(nli_model_name=str(folder), device="cpu")
        self.passes = Passes()
        self.nli.model.register_forward_pre_hook(self.passes, with_kwargs=True)
        self.polygraph_model = PolygraphModel(self.nli)
        self.by_name: dict[str, System] = {
            "uqlm": self.uqlm,
            "uqlm published": self.uqlm_published,
            "lm-polygraph": self.polygraph,
            "lm-polygraph bare": lambda question, samples: self.polygraph("", samples),
            "paper": self.paper,
        }

    def uqlm(self, question: str, samples: list[str]) -> tuple[Partition, float]:
        """What its `score` computes, without the 100 ms that it sleeps."""
        self.nli.probabilities.clear()
        _, uniform = compute_response_probabilities(None, num_responses=len(samples))
        clusterer = SemanticClusterer(nli=self.nli)
        found = clusterer.evaluate(joined(question, samples), response_probabilities=uniform)
        return [sorted(members) for members in found[3]], compute_semantic_entropy(found[2])

    def uqlm_published(self, question: str, samples: list[str]) -> tuple[None, float]:
        self.nli.probabilities.clear()
        texts = joined(question, samples)
        scorer = UqlmSemanticEntropy(llm=None, nli=self.nli, use_best=False)
        found = scorer.score(responses=texts[:1], sampled_responses=[texts[1:]], show_progress_bars=False)
        return None, found.data["discrete_entropy_values"][0]

    def polygraph(self, question: str, samples: list[str]) -> tuple[Partition, float]:
        stats: dict[str, Any] = {"sample_texts": [joined(question, samples)]}
        stats |= SemanticMatrixCalculator(self.polygraph_model)(stats, texts=None, model=None)
        stats |= SemanticClassesCalculator()(stats, texts=None, model=None)
        entropy = SemanticEntropy(class_probability_estimation="frequency")(stats)[0]
        return stats["semantic_classes_entail"]["class_to_sample"][0], float(entropy)

    def paper(self, question: str, samples: list[str]) -> tuple[Partition, float]:
        """Algorithm 1 of Farquhar et al. 2024 as it is described: each answer against one member of each meaning so
        far, in both directions, a directed pair a pass, until one matches. (Their code goes on and asks for more.)"""
        texts = joined(question, samples)
        found: Partition = []
        for index, text in enumerate(texts):
            for members in found:
                forwards, back = self._entails(texts[members[0]], text), self._entails(text, texts[members[0]])
                if forwards and back:
                    members.append(index)
                    break
            else:
                found.append([index])
        return found, -math.fsum(len(m) / len(texts) * math.log(len(m) / len(texts)) for m in found)

    def verdict(self, premise: str, hypothesis: str) -> list[float]:
        """Contradiction, neutral, entailment."""
        tokens = self.nli.tokenizer(premise, hypothesis, truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            logits = self.nli.model(**tokens).logits[0].double()
        probabilities: list[float] = torch.softmax(logits, dim=-1).tolist()
        return probabilities

    def _entails(self, premise: str, hypothesis: str) -> bool:
        row = self.verdict(premise, hypothesis)
        return row.index(max(row)) == ENTAILMENT


def joined(question: str, samples: Sequence[str]) -> list[str]:
    return [f"{question} {text}" for text in samples] if question else list(samples)


def answer(systems: Systems, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["system"] == "verdicts":
        return {"verdicts": [systems.verdict(*pair)[::-1] for pair in asked["pairs"]]}
    score, lock = systems.by_name[asked["system"]], Lock()

    def one(row: dict[str, Any]) -> dict[str, Any]:
        with lock:  # none of them can be entered twice
            before = Counter(passes=systems.passes.n, rows=systems.passes.rows)
            started = perf_counter()
            partition, entropy = score(row["question"], list(row["samples"]))
            seconds = perf_counter() - started
            after = Counter(passes=systems.passes.n, rows=systems.passes.rows)
        counts = {name: after[name] - before[name] for name in before}
        return {"seconds": seconds, **counts, "partition": partition, "entropy": float(entropy)}

    with ThreadPoolExecutor(asked["at_once"]) as pool:
        started = perf_counter()
        rows = list(pool.map(one, asked["questions"])) if asked["at_once"] > 1 else list(map(one, asked["questions"]))
        return {"seconds": perf_counter() - started, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the NLI model")
    parser.add_argument("--canonical", type=Path, required=True, help="where its copy for the peers goes")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    canonical(options.model, options.canonical)
    systems = Systems(options.canonical)
    replies, sys.stdout = sys.stdout, sys.stderr  # what the libraries print is not ours to read
    print(json.dumps({"counting_s": systems.passes.seconds_each()}), file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(systems, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
