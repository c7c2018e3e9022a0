"""What one pass of training sees: general pairs, judged answers and rule-made pairs, drawn anew for every pass."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from random import Random

from training.facts_model.relations import load_facts
from training.nli_model import facts, judged, quantities, variations
from training.nli_model.pairs import Judged, Pair, general_pairs, split_judged

# how often a source's rows come in a pass, where it is not once: plain sentences more, templated rows less
SOURCE_SHARES = {"mnli_train10k": 1.5, "mnli_train20k": 1.5, "cf_snli": 2.5, "joci": 1.2, "conjnli_adv": 0.5, "help": 0}
ANSWER_PAIRS_PER_CLASS = 2


def own_pairs(rows: Sequence[Judged], rng: Random, size: float = 0.6) -> list[Pair]:
    """Pairs of our task; `size` scales the rule-made counts (0.6: about 75,000 pairs with EVOUNA's)."""
    seeds, told = variations.seeds_of(rows), load_facts()
    n = int(1000 * size)
    some = rng.sample(seeds, int(len(seeds) * min(size, 1.0)))
    drawn = chain(
        judged.reference_pairs(rows, rng),
        judged.answer_pairs(rows, rng, ANSWER_PAIRS_PER_CLASS),
        quantities.number_pairs(rng, 2 * n),
        quantities.unit_pairs(rng, n),
        quantities.date_pairs(rng, n),
        variations.wording_pairs(some, rng, 1),
        variations.sibling_pairs(some, rng, 2),
        variations.family_pairs(seeds, rng, 3 * n),
        variations.alias_pairs(seeds, rng, n),
        variations.name_pairs(seeds, rng, 3 * n),
        variations.hedge_pairs(rng.sample(seeds, n), rng, 1),
        variations.list_pairs(seeds, rng, n // 2),
        variations.place_pairs(rng, n // 4),
        variations.yes_no_pairs(seeds, rng, n // 3),
        facts.fact_pairs(told, rng, 1),
        facts.passage_pairs(told, rng, 1),
        facts.seed_passages(rng.sample(seeds, n), rng),
    )
    return list(drawn)


def training_pass(data: Path, number: int) -> list[Pair]:
    """Every pair of pass `number`, in its order; the same for the same number."""
    rng = Random(f"nli pass {number}")
    rows, _ = split_judged(data)
    pairs = _drawn(general_pairs(data, "train"), rng) + own_pairs(rows, rng)
    rng.shuffle(pairs)
    return pairs


def _drawn(pairs: Sequence[Pair], rng: Random) -> list[Pair]:
    """Each pair as often as its source's share says, the fraction by lot."""
    return [p for p in pairs for _ in range(int(SOURCE_SHARES.get(p.source, 1.0) + rng.random()))]
