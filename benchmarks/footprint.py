"""What starting and installing cost: `python -m benchmarks.footprint`, `--install` for the size as well.

Each time in a fresh process: `import demur.app` in processor time (on an idle machine that is the wall time, and on a
busy one it is not), and `demur ask` from its start to its end, models loaded and ten samples judged. With `--install`
the base package, which has no torch, goes into a fresh environment, with pip's own settings; its size is that of all
files but pip and setuptools, with the bytecode that pip compiles and without it, and of it the bundled weights.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.results import Bound, save, show_bounds

ROOT = Path(__file__).parents[1]
MB = 1_000_000
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
IMPORT = """
import time
started = time.process_time()
import demur.app
print(time.process_time() - started)
"""
BOUNDS: list[Bound] = [
    ("import_s", 1.0, "s    processor time of `import demur.app`"),
    ("ask_s", 6.0, "s    `demur ask`, from its start to its end"),
    ("install_mb", 150.0, "MB   base install, without bytecode"),
    ("install_compiled_mb", None, "MB   the same with bytecode"),
    ("weights_mb", None, "MB   of it the bundled models"),
]


def import_seconds(n: int) -> float:
    """The median."""
    runs = [_run(sys.executable, "-c", IMPORT) for _ in track(range(n), "importing")]
    return statistics.median(float(out) for out in runs)


def ask_seconds(n: int) -> float:
    """The median; the first, which may read the weights from disk, is left out."""
    seconds = []
    for _ in track(range(n + 1), "asking"):
        started = perf_counter()
        _run(sys.executable, "-m", "demur", "ask", "What is the capital of France?")
        seconds.append(perf_counter() - started)
    return statistics.median(seconds[1:])


def install_sizes() -> dict[str, float]:
    with TemporaryDirectory() as folder:
        _run(sys.executable, "-m", "venv", folder)
        _run(f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT))
        (packages,) = Path(folder).glob("lib/python*/site-packages")
        files = [path for path in packages.rglob("*") if path.is_file() and not _is_tool(path.relative_to(packages))]
        return {
            "install_mb": _mb(path for path in files if path.suffix != ".pyc"),
            "install_compiled_mb": _mb(files),
            "weights_mb": _mb(path for path in files if path.suffix == ".safetensors"),
        }


def _is_tool(path: Path) -> bool:
    return path.parts[0].split("-")[0] in TOOLS


def _mb(files: Any) -> float:
    return round(sum(path.stat().st_size for path in files) / MB, 1)


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="make an environment and install into it")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    figures: dict[str, Any] = {"runs": options.runs, "import_s": import_seconds(options.runs)}
    figures["ask_s"] = ask_seconds(options.runs)
    if options.install:
        figures |= install_sizes()
    Console().print(save("footprint", figures))
    sys.exit(0 if show_bounds("What starting and installing cost", figures, BOUNDS) else 1)


if __name__ == "__main__":
    main()
