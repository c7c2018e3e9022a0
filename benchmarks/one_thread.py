"""What it costs when each model computes on a thread of its own: `python -m benchmarks.one_thread`.

Every thread that computes brings OpenMP workers. With more of them than cores, workers sleep between the steps of a
model and are woken for each. Rounds turn: both bundled models on one thread, as the service has them; then the NLI
model on a second one, which ends with the round. Nothing runs at the same time but the workers that wait.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from time import perf_counter

from rich.progress import track

from benchmarks.overhead import QUESTIONS
from benchmarks.results import Bound, save, show_bounds
from demur.entailment.cross_encoder import CrossEncoderModel
from demur.model_thread import ModelThread
from demur.samplers.decoding import Decoder
from demur.settings import bundled_path
from demur.types import Message, Pair, Sampling, Statement

ROUNDS = 6
PAIRS = (1, 3, 8)
_SECONDS_TO_END = 5.0

Work = Callable[[], object]


def milliseconds(thread: ModelThread, work: Work, n: int) -> float:
    """The median of `n`, after two that do not count."""

    def timed() -> list[float]:
        found = []
        for _ in range(n + 2):
            started = perf_counter()
            work()
            found.append(1000 * (perf_counter() - started))
        return found[2:]

    return statistics.median(thread.run(timed))


def works(decoder: Decoder, nli: CrossEncoderModel) -> tuple[dict[str, Work], dict[str, Work]]:
    """Of the language model: ten samples and a greedy one; of the NLI model: passes of so many pairs."""
    question = QUESTIONS[0]
    pairs = [
        Pair(Statement(f"It is city {i}.", question), Statement(f"It is city {i + 1}.", question)) for i in range(8)
    ]
    encoded = nli.encode(pairs)

    def draw() -> object:
        return list(decoder.draw([Message("user", question)], Sampling(seed=1), lambda: False))

    passes: dict[str, Work] = {f"pass_{n}_pairs": lambda n=n: nli.predict(encoded[:n]) for n in PAIRS}
    return {"draw": draw}, passes


def one_round(
    shared: ModelThread, second: ModelThread, drawing: dict[str, Work], judging: dict[str, Work]
) -> dict[str, float]:
    """The NLI model works on `second` first, so that its workers are there while the language model draws."""
    passes = {name: milliseconds(second, work, 20) for name, work in judging.items()}
    return passes | {name: milliseconds(shared, work, 10) for name, work in drawing.items()}


def main() -> None:
    shared = ModelThread("models")
    decoder = shared.run(lambda: Decoder.load(str(bundled_path("facts")), local_files_only=True))
    nli = shared.run(lambda: CrossEncoderModel.load(bundled_path("nli")))
    both = works(decoder, nli)
    together, apart = [], []
    for _ in track(range(ROUNDS), "measuring"):
        together.append(one_round(shared, shared, *both))
        second = ModelThread("second")
        apart.append(one_round(shared, second, *both))
        second.close()
        second.join(_SECONDS_TO_END)
    figures = {"cores": os.cpu_count()}
    bounds: list[Bound] = []
    for name in together[0]:
        one, two = (statistics.median(each[name] for each in rounds) for rounds in (together, apart))
        figures |= {f"{name}_ms": one, f"{name}_ratio": two / one}
        bounds += [(f"{name}_ms", None, "ms   on one thread"), (f"{name}_ratio", None, "x    as long on two")]
    save("one_thread", figures)
    show_bounds("Models on one thread, and each on its own", figures, bounds)


if __name__ == "__main__":
    main()
