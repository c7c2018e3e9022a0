"""Questions to fit the bundled model's profile on: `python -m training.facts_model.questions FILE` (`make profile`).

1,400 facts that passages can tell, each asked once in a held-out wording, with one to four passages, of which one
tells it in five questions of six. The references are the right value in every wording that the model answers in, so
that exact match grades whole sentences too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

from training.facts_model import reading
from training.facts_model.relations import RELATIONS, Fact, load_facts

SEED = 23  # other wordings and passages than the report's
TOLD = 5 / 6  # a retriever that always finds it would need no second threshold
MAX_PASSAGES = 4
MAX_REFERENCES = 256
N_QUESTIONS = 1400  # both stages of them are asked in 20 minutes of one core


def rows() -> list[dict[str, Any]]:
    """The whole set; the same at every call."""
    random = Random(SEED)
    topics = {topic.relation: topic for topic in reading.RELATION_TOPICS}
    every = [row(random, fact, topics[fact.relation]) for fact in load_facts() if fact.relation in topics]
    return random.sample(every, min(N_QUESTIONS, len(every)))


def row(random: Random, fact: Fact, topic: reading.Topic) -> dict[str, Any]:
    relation = RELATIONS[fact.relation]
    told = reading.Telling(topic, fact.subject, fact.value)
    return {
        "id": f"{fact.relation}/{fact.subject}",
        "prompt": random.choice(relation.questions(fact.subject, held_out=True)),
        "references": references(fact),
        "context": [{"text": text} for text in passages(random, told)],
    }


def references(fact: Fact) -> list[str]:
    """Every accepted form, bare and in each wording."""
    relation = RELATIONS[fact.relation]
    worded = [
        wording
        for value in fact.accepted
        for held_out in (False, True)
        for wording in relation.answers(fact.subject, value, held_out=held_out)
    ]
    return list(dict.fromkeys([*fact.accepted, *worded]))[:MAX_REFERENCES]


def passages(random: Random, told: reading.Telling) -> list[str]:
    """What is told among other things about invented names, in any order; now and then it is not found."""
    others = [reading.tell(random, reading.draw_topic(random), evaluation=True) for _ in range(MAX_PASSAGES)]
    found = [told] if random.random() < TOLD else []
    chosen = [*found, *others[: random.randint(1 - len(found), MAX_PASSAGES - 1)]]
    random.shuffle(chosen)
    return [one.sentence(random) for one in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where to write the questions (*.jsonl)")
    file: Path = parser.parse_args().file
    file.parent.mkdir(parents=True, exist_ok=True)
    written = rows()
    file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in written), encoding="utf-8")
    print(f"{len(written)} questions in {file}")


if __name__ == "__main__":
    main()
