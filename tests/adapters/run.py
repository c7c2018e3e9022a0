"""`make test-adapters`: each framework's tests with the Python of its own environment, against live services.

python -m tests.adapters.run FOLDER [framework ...]   # FOLDER/<framework> is a virtual environment
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conformance.openai_server import openai_server
from tests.service.running import serve_process
from tests.service.test_openai_backend import settings

HERE = Path(__file__).parent
FRAMEWORKS = ("langchain", "llama_index", "haystack")


def main() -> None:
    folder, *wanted = sys.argv[1:]
    with serve_process() as bundled, openai_server() as server, serve_process(**settings(server)) as upstream:
        urls = {"DEMUR_BASE_URL": bundled.url, "DEMUR_UPSTREAM_URL": upstream.url}
        failed = [name for name in wanted or FRAMEWORKS if not _passes(Path(folder) / name, name, urls)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _passes(environment: Path, framework: str, urls: dict[str, str]) -> bool:
    command = [str(environment / "bin" / "python"), "-m", "pytest", "-c", str(HERE / "pytest.ini")]
    return subprocess.run([*command, f"--rootdir={HERE}", str(HERE / f"test_{framework}.py")], env={
        **os.environ, **urls, "HAYSTACK_TELEMETRY_ENABLED": "False",
    }).returncode == 0  # fmt: skip


if __name__ == "__main__":
    main()
