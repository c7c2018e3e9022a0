"""How long `import demur_client` takes, each time in a fresh interpreter: `python -m benchmarks.client_import`."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks.results import save

N_RUNS = 20
NAMES = ("demur_client", "httpx2, pydantic.main")
_TIMED = """
import time
wall, processor = time.perf_counter(), time.process_time()
import {}
print(time.perf_counter() - wall, time.process_time() - processor)
"""


def measure(names: str) -> dict[str, float]:
    """Median and least of wall and processor time, in milliseconds."""
    runs = []
    for _ in range(N_RUNS):
        done = subprocess.run([sys.executable, "-c", _TIMED.format(names)], capture_output=True, text=True, check=True)
        runs.append([1000 * float(each) for each in done.stdout.split()])
    wall, processor = ([run[i] for run in runs] for i in (0, 1))
    return {
        "wall_ms_median": round(statistics.median(wall), 1),
        "wall_ms_least": round(min(wall), 1),
        "processor_ms_median": round(statistics.median(processor), 1),
        "processor_ms_least": round(min(processor), 1),
    }


def main() -> None:
    figures = {f"import {names}": measure(names) for names in NAMES}
    for names, measured in figures.items():
        print(f"{names:30} {measured}")
    print(save("client_import", {"n_runs": N_RUNS, **figures}))


if __name__ == "__main__":
    main()
