"""Every test with the long counts (`make test-full`), and its figures in results/test_full.json."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.results import save

# The tests on vLLM have an environment of their own (`make test-vllm`).
COMMAND = ["-m", "pytest", "-m", "not vllm", "--hypothesis-profile=long", "-o", "timeout=1800"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        status = subprocess.run([sys.executable, *COMMAND, f"--junitxml={report}"], check=False).returncode
        save("test_full", {"status": status, **_figures(report)})
    sys.exit(status)


def _figures(report: Path) -> dict[str, Any]:
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest has just written it
    cases = sorted(suite.iter("testcase"), key=lambda case: -float(case.get("time", 0)))
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    slowest = {f"{case.get('classname')}::{case.get('name')}": float(case.get("time", 0)) for case in cases[:5]}
    return {**counts, "seconds": float(suite.get("time", 0)), "slowest_seconds": slowest}


if __name__ == "__main__":
    main()
