"""`python -m tests.service.tallied_process TALLY`: a service in a process of its own, over scripted answers.

The question "slow <n>" takes n seconds. Each call of the sampler adds the id of the process to the file TALLY, which
outlives it. Settings come from the environment.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from demur.app import create_app
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.settings import Settings
from demur.types import Sampling
from tests.service.running import SameText


def main(tally: Path) -> None:
    def answers(question: str, _: Sampling) -> Sequence[ScriptedAnswer]:
        with tally.open("a") as file:
            file.write(f"{os.getpid()}\n")
        seconds = float(question.removeprefix("slow ")) if question.startswith("slow ") else 0.0
        return [ScriptedAnswer(text, (math.log(0.1),), seconds) for text in ("Paris", "Paris", "Lyon", "Nice")]

    app = create_app(Settings(), sampler=ScriptedSampler(answers), entailment=SameText())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))

    async def announce(sockets: object = None) -> None:
        await startup()
        sys.stdout.write(f"listens on http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()

    startup, server.startup = server.startup, announce  # type: ignore[method-assign]
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
