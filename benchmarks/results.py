"""Where figures are kept: one small JSON file each, with the commit and the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Bound = tuple[str, float | None, str]  # figure, the most that it may be (None: for information), unit and meaning

FOLDER = Path(__file__).parent / "results"


def save(name: str, figures: dict[str, Any]) -> Path:
    """Write `figures` to results/<name>.json and return the path."""
    path = FOLDER / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    stamped = {"measured": _provenance(), **figures}
    path.write_text(json.dumps(stamped, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def show_bounds(title: str, figures: dict[str, Any], bounds: Sequence[Bound]) -> bool:
    """Print a table of those that were measured; whether every bound holds."""
    table = Table("figure", "measured", "bound", "", title=title, title_justify="left")
    held = True
    for name, bound, meaning in [row for row in bounds if row[0] in figures]:
        ok = bound is None or figures[name] <= bound
        held &= ok
        mark = "" if bound is None else ("[green]✔[/]" if ok else "[red]✘[/]")
        table.add_row(name, f"{figures[name]:.2f} {meaning}", "" if bound is None else f"<= {bound:g}", mark)
    Console().print(table)
    return held


def _provenance() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "service") else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),  # this run's own work, and whatever else the machine did
    }


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
