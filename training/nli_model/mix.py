"""What one pass of training sees: general pairs, judged answers and rule-made pairs, drawn anew for every pass."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from typing import Self

from training.facts_model.relations import Fact, load_facts
from training.nli_model import captions, facts, judged, names, quantities, variations
from training.nli_model.encoder import load_base
from training.nli_model.pairs import Judged, Pair, split_general, split_judged

# how often a source's rows come in a pass, where it is not once: captions and plain sentences more, templated rows less
SOURCE_SHARES = {
    "mnli_train10k": 1.5, "mnli_train20k": 1.5, "cf_snli": 3.0, "joci": 2.0, "newprot_contrast": 0.6,
    "newprot_edit_other": 0.6, "newprot_edit_premise": 0.6, "conjnli_adv": 0.25, "monli": 0.5, "help": 0,
}  # fmt: skip
MADE_BY_MACHINE_SHARE = 0.4  # JOCI's hypotheses that a machine wrote, as "The gliding loses a steam ."
ANSWER_PAIRS_PER_CLASS = 2
CAPTION_ROUNDS = 2500


@dataclass(frozen=True, slots=True)
class Sources:
    """What the passes draw from, read once."""

    general: list[Pair]
    judged: list[Judged]
    seeds: list[variations.Seed]
    captions: list[str]
    names: list[str]
    nearest: names.Nearest
    facts: tuple[Fact, ...]

    @classmethod
    def read(cls, data: Path) -> Self:
        general, rows = split_general(data)[0], split_judged(data).train
        seeds = variations.seeds_of(rows)
        model, tokenizer = load_base()
        nearest = names.Nearest(rows, seeds)
        nearest.find(model.bert.eval(), tokenizer)
        shown, named = captions.captions_of(data), names.names_of(general)
        return cls(general, rows, seeds, shown, named, nearest, tuple(load_facts()))

    def training_pass(self, number: int) -> list[Pair]:
        """Every pair of pass `number`, in its order; the same for the same number."""
        rng = Random(f"nli pass {number}")
        pairs = self._general(rng) + self._own(rng)
        rng.shuffle(pairs)
        return pairs

    def _general(self, rng: Random) -> list[Pair]:
        """Each pair as often as its source's share says, the fraction by lot; four captions are cut to two."""
        drawn = [p for p in self.general for _ in range(int(share_of(p) + rng.random()))]
        drawn += captions.caption_pairs(self.captions, rng, CAPTION_ROUNDS)
        return [captions.with_two_captions(p, rng) if p.source == "mpe" else p for p in drawn]

    def _own(self, rng: Random, size: float = 0.6) -> list[Pair]:
        """Pairs of our task; `size` scales the rule-made counts."""
        seeds, n = self.seeds, int(1000 * size)
        some = rng.sample(seeds, int(len(seeds) * min(size, 1.0)))
        drawn = chain(
            judged.reference_pairs(self.judged, rng),
            judged.answer_pairs(self.judged, rng, ANSWER_PAIRS_PER_CLASS),
            quantities.number_pairs(rng, n),
            quantities.unit_pairs(rng, n // 2),
            quantities.date_pairs(rng, n // 2),
            variations.wording_pairs(some, rng, 1),
            variations.sibling_pairs(some, rng, 1),
            names.rival_pairs(some, self.nearest, rng, 2),
            names.stranger_pairs(seeds, self.names, rng, 3 * n),
            names.class_pairs(seeds, rng, n),
            variations.family_pairs(seeds, rng, 3 * n),
            variations.alias_pairs(seeds, rng, n),
            variations.name_pairs(seeds, rng, 2 * n),
            variations.hedge_pairs(rng.sample(seeds, n), rng, 1),
            variations.list_pairs(seeds, rng, n // 2),
            variations.place_pairs(rng, n // 4),
            variations.yes_no_pairs(seeds, rng, n // 3),
            facts.fact_pairs(self.facts, rng, 1),
            facts.passage_pairs(self.facts, rng, 1),
            facts.seed_passages(rng.sample(seeds, n), rng),
        )
        return list(drawn)


def share_of(pair: Pair) -> float:
    if pair.source == "joci" and pair.hypothesis.endswith(" ."):
        return MADE_BY_MACHINE_SHARE
    return SOURCE_SHARES.get(pair.source, 1.0)
