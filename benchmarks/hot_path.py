"""Where the time of `POST /answer` goes: `python -m benchmarks.hot_path`, on the bundled models, in this process.

A thread looks every two milliseconds at what each other thread is running, and counts only those that the system runs
or has ready to run, so that waiting costs nothing here. A cost is the innermost function of Demur, and the package that
it is in at that moment. The client and this watcher run in the process too; they are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections import Counter
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import track
from rich.table import Table

import demur
from benchmarks.overhead import QUESTIONS, serving
from benchmarks.results import save
from demur.backends import build_entailment, build_sampler
from demur.observability.metrics import Metrics
from demur.settings import Settings

EVERY_SECONDS = 0.002
OURS = str(Path(demur.__file__).parent)
N_TOLD = 10


class Watcher:
    """Counts what runs, while it is started."""

    def __init__(self) -> None:
        self.costs: Counter[tuple[str, str]] = Counter()
        self.n_looks = 0
        self._left_out = {threading.get_ident()}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        self._left_out.add(threading.get_ident())
        while not self._is_over.is_set():
            sleep(EVERY_SECONDS)
            self.n_looks += 1
            native = {thread.ident: thread.native_id for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident not in self._left_out and _is_running(native.get(ident)):
                    self.costs[cost(frame)] += 1


def _is_running(native_id: int | None) -> bool:
    try:
        stat = Path(f"/proc/self/task/{native_id}/stat").read_text(encoding="utf-8")
    except OSError:  # it has ended
        return False
    return stat.rpartition(")")[2].split()[0] == "R"


def cost(frame: FrameType) -> tuple[str, str]:
    """The innermost function of Demur, or none, and the package of the innermost frame."""
    package, walk = _package(frame.f_code.co_filename), frame
    while walk.f_back is not None and not walk.f_code.co_filename.startswith(OURS):
        walk = walk.f_back
    if not walk.f_code.co_filename.startswith(OURS):
        return "(outside Demur)", package
    module = walk.f_code.co_filename[len(OURS) + 1 :].removesuffix(".py").replace("/", ".")
    return f"{module}.{walk.f_code.co_qualname}", package


def _package(filename: str) -> str:
    if filename.startswith(OURS):
        return "demur"
    _, found, inside = filename.partition("site-packages/")
    return inside.split("/")[0].removesuffix(".py") if found else "python"


def watch(n_rounds: int) -> tuple[Watcher, int]:
    settings = Settings()
    sampler, entailment = build_sampler(settings.sampler), build_entailment(settings.nli, Metrics())
    watcher = Watcher()
    with serving(sampler, entailment) as service, httpx2.Client(base_url=service.url, timeout=60) as client:

        def ask(question: str, seed: int) -> None:
            client.post("/answer", json={"prompt": question, "sampling": {"seed": seed}}).raise_for_status()

        for question in QUESTIONS[:8]:  # warm up
            ask(f"{question} ", 0)
        watcher.start()
        plan = [(question, seed) for seed in range(n_rounds) for question in QUESTIONS]
        for question, seed in track(plan, "asking"):
            ask(question, seed)
        watcher.stop()
        service.run(sampler.aclose())
    asyncio.run(entailment.aclose())
    return watcher, len(plan)


def is_model(cost_: tuple[str, str]) -> bool:
    """Whether it is a model at work, and not what we do around it."""
    function, package = cost_
    return package in {"torch", "transformers", "sentence_transformers", "tokenizers"} or "entailment.bert." in function


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="times every question is asked, each with a new seed")
    parser.add_argument("--name", default="hot_path", help="of the file of figures")
    options = parser.parse_args()
    watcher, n = watch(options.rounds)
    total = watcher.costs.total()
    table = Table("function", "in", "share", title=f"What runs during {n} answers", title_justify="left")
    costs: list[dict[str, Any]] = []
    for one, count in watcher.costs.most_common(N_TOLD):
        costs.append({"function": one[0], "in": one[1], "share": round(count / total, 4)})
        table.add_row(*one, f"{100 * count / total:.1f} %")
    beside = 1 - sum(count for one, count in watcher.costs.items() if is_model(one)) / total
    Console(width=140).print(table)
    print(f"{100 * beside:.1f} % is not a model's")
    print(save(options.name, {"answers": n, "looks": total, "not_model_share": round(beside, 4), "costs": costs}))


if __name__ == "__main__":
    main()
