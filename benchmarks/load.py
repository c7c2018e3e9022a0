"""Twice what the service can do, for a quarter of an hour: `python -m benchmarks.load` (`--minutes 1` for a look).

A process of its own serves scripted answers that take a stated time; only so many are worked on at once, so that the
capacity is known beforehand. Clients arrive at random, twice as many as that, whether earlier ones are served or not;
one in twenty leaves before the answer. Looked for: every accepted request is answered, refusals come at once, and
nothing grows: memory, tasks, open files.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import httpx2
import numpy as np
import uvicorn
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.results import save
from demur.app import create_app
from demur.observability import logging
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.settings import NLISettings, ServerSettings, Settings, StoreSettings
from demur.types import Sampling

PLACES, QUEUE, ANSWER_SECONDS = 8, 16, 0.4
CAPACITY = PLACES / ANSWER_SECONDS  # answers a second
LEAVES_EARLY = 0.05
SAMPLED_EVERY_SECONDS = 5.0
SETTLING_SHARE = 0.65  # of the run, before growth is looked for: by then the answer cache is full
MAX_REFUSAL_P99_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended: its HTTP status, 0 where the client left, -1 where there was no reply. Seconds."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Vitals:
    """The serving process at one moment."""

    seconds: float
    rss_mb: float
    n_files: int
    n_tasks: int


def serve(store: Path) -> None:
    """The process that is put under load; also counts its tasks."""
    logging.configure("error", "json")
    settings = Settings(
        server=ServerSettings(max_inflight=PLACES, max_queue=QUEUE),
        nli=NLISettings(backend="exact"),
        store=StoreSettings(url=f"sqlite:///{store}"),  # type: ignore[arg-type]
    )
    app = create_app(settings, sampler=ScriptedSampler(_answers))

    @app.get("/tasks", include_in_schema=False)
    async def tasks() -> int:
        return len(asyncio.all_tasks())

    config = uvicorn.Config(app, port=0, log_config=None, access_log=False)
    listening = config.bind_socket()
    listening.listen()  # whoever comes before the application is ready waits
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listening])


def _answers(prompt: str, _: Sampling) -> list[ScriptedAnswer]:
    """The last sample takes all the time; what is said depends on the question."""
    rng = random.Random(prompt)
    delays = [ANSWER_SECONDS * rng.random() for _ in range(9)] + [ANSWER_SECONDS]
    return [ScriptedAnswer(rng.choice(("Paris", "Lyon", "Nice")), delay_seconds=delay) for delay in delays]


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, int]]:
    """Address and process id of the service under load."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.load", "--serve", str(Path(folder) / "store.sqlite")]
        popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert popen.stdout
        try:
            yield f"http://127.0.0.1:{int(popen.stdout.readline())}", popen.pid
        finally:
            popen.terminate()
            popen.wait(60)
            popen.stdout.close()


class Load:
    """Clients that arrive at random at `rate` a second, and what became of them."""

    def __init__(self, url: str, pid: int, rate: float, seed: int) -> None:
        self._pid, self._rate, self._rng = pid, rate, random.Random(seed)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=50, keepalive_expiry=2)
        self._client = httpx2.AsyncClient(base_url=url, timeout=60, limits=limits)
        self.outcomes: list[Outcome] = []
        self.vitals: list[Vitals] = []
        self.n_sent = 0

    async def run(self, seconds: float) -> None:
        """Poisson arrivals for so long; then wait until the last one is done."""
        started = perf_counter()
        async with self._client, asyncio.TaskGroup() as watchers:
            watching = watchers.create_task(self._watch(started))
            async with asyncio.TaskGroup() as clients:
                await self._arrive(clients, started, seconds)
            watching.cancel()

    async def _arrive(self, clients: asyncio.TaskGroup, started: float, seconds: float) -> None:
        due = started
        with _bar() as bar:
            task = bar.add_task("under load", total=seconds, said="")
            while (now := perf_counter()) - started < seconds:
                bar.update(task, completed=now - started, said=self._said())
                due += self._rng.expovariate(self._rate)
                await asyncio.sleep(max(0.0, due - perf_counter()))
                self.n_sent += 1
                clients.create_task(self._ask(self.n_sent))

    async def _ask(self, number: int) -> None:
        """One client; it may lose patience before the answer can be there."""
        patience = self._rng.uniform(0.05, ANSWER_SECONDS) if self._rng.random() < LEAVES_EARLY else None
        body = {"prompt": f"question {number}", "include": []}
        started, status = perf_counter(), -1
        try:
            async with asyncio.timeout(patience):
                status = (await self._client.post("/v1/answer", json=body)).status_code
        except TimeoutError:
            status = 0
        except httpx2.HTTPError as error:
            Console(stderr=True).print(f"no reply to question {number}: {error!r}")
        self.outcomes.append(Outcome(status, perf_counter() - started))

    async def _watch(self, started: float) -> None:
        while True:
            n_tasks = int((await self._client.get("/tasks")).text)
            folder = Path(f"/proc/{self._pid}")
            rss = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS"))
            n_files = len(list((folder / "fd").iterdir()))
            self.vitals.append(Vitals(perf_counter() - started, int(rss.split()[1]) / 1024, n_files, n_tasks))
            await asyncio.sleep(SAMPLED_EVERY_SECONDS)

    def _said(self) -> str:
        counts = Counter(outcome.status for outcome in self.outcomes)
        return f"{counts[200]} answered, {counts[503]} refused"


def figures(load: Load, seconds: float) -> dict[str, float]:
    """What is claimed. Slopes are least squares over the settled part of the run, per hour."""
    counts = Counter(outcome.status for outcome in load.outcomes)
    refusals = [outcome.seconds for outcome in load.outcomes if outcome.status == 503]
    answers = [outcome.seconds for outcome in load.outcomes if outcome.status == 200]
    settled = [vitals for vitals in load.vitals if vitals.seconds >= SETTLING_SHARE * seconds]
    hours = np.array([vitals.seconds / 3600 for vitals in settled])
    slopes = {name: float(np.polyfit(hours, [getattr(v, name) for v in settled], 1)[0]) for name in _GROWING}
    return {
        "minutes": seconds / 60,
        "capacity_per_s": CAPACITY,
        "offered_per_s": load.n_sent / seconds,
        "answered_per_s": counts[200] / seconds,
        "sent": load.n_sent,
        "answered": counts[200],
        "refused": counts[503],
        "left_early": counts[0],
        "lost_or_failed": load.n_sent - counts[200] - counts[503] - counts[0],
        "answer_p50_s": statistics.median(answers),
        "answer_p99_s": float(np.quantile(answers, 0.99)),
        "refusal_p50_s": statistics.median(refusals),
        "refusal_p99_s": float(np.quantile(refusals, 0.99)),
        "rss_mb": settled[-1].rss_mb,
        **{f"{name}_slope_per_hour": slope for name, slope in slopes.items()},
        "n_files_at_most": max(vitals.n_files for vitals in settled),
        "n_tasks_at_most": max(vitals.n_tasks for vitals in settled),
    }


_GROWING = ("rss_mb", "n_files", "n_tasks")


def show(found: dict[str, float]) -> None:
    table = Table("figure", "value", title="Twice the capacity")
    for name, value in found.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[said]}")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--factor", type=float, default=2.0, help="load, as a multiple of the capacity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.serve)
    with serving() as (url, pid):
        load = Load(url, pid, arguments.factor * CAPACITY, arguments.seed)
        asyncio.run(load.run(60 * arguments.minutes))
    found = figures(load, 60 * arguments.minutes)
    show(found)
    save(
        "load",
        {"figures": found, "vitals": [asdict(vitals) for vitals in load.vitals[:: max(1, len(load.vitals) // 60)]]},
    )
    if found["lost_or_failed"] or found["refusal_p99_s"] > MAX_REFUSAL_P99_SECONDS:
        raise SystemExit("a request was lost, or refusals were slow")
    return None


if __name__ == "__main__":
    main()
