"""A real Prometheus on loopback, with the shipped configuration and rules, made quick.

What takes minutes in production takes seconds here: every window, offset and `for` is replaced by a shorter one. The
shipped files are read and never changed; a duration that has no replacement is an error.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import httpx2
import yaml

from tests.redis_server import free_port

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "deploy" / "prometheus"
START_SECONDS = 60

# Scraped and evaluated every second. What an alert compares with lies so far back that a change takes a while to get
# there: on a busy machine, too, somebody sees it fire.
WINDOWS = {"5m": "8s", "15m": "8s", "30m": "8s", "1h": "8s", "1d": "60s", "7d": "60s"}
WINDOWS |= {"1w": WINDOWS["7d"]}  # as the parser writes it
OFFSETS = {"10m": "14s", "1h": "14s", "7d": "5s"}


def quickened(expr: str, windows: Mapping[str, str] = WINDOWS) -> str:
    """The expression with short windows and offsets; KeyError for one that nobody thought of."""
    expr = re.sub(r"\[(\w+)\]", lambda found: f"[{windows[found[1]]}]", expr)
    return re.sub(r"\boffset (\w+)", lambda found: f"offset {OFFSETS[found[1]]}", expr)


def shipped_rules() -> list[dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((SHIPPED / "rules").glob("*.yml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def _write_configuration(folder: Path, targets: Sequence[str], key: str) -> Path:
    """The shipped one, with our targets, and the key that its comment tells of."""
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = dict.fromkeys(config["global"], "1s")
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "demur"]
    (folder / "key").write_text(key, encoding="utf-8")
    job |= {"static_configs": [{"targets": list(targets)}], "authorization": {"credentials_file": str(folder / "key")}}
    config["scrape_configs"] = [job]
    (folder / "rules").mkdir()
    rules = [
        {**rule, "expr": quickened(rule["expr"]), **({"for": "1s"} if "for" in rule else {})}
        for rule in shipped_rules()
    ]
    (folder / "rules" / "all.yml").write_text(yaml.safe_dump({"groups": [{"name": "demur", "rules": rules}]}))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API. Times are Unix seconds."""

    client: httpx2.Client
    started: float

    def series(self, expr: str) -> list[dict[str, Any]]:
        """Each series of the expression, second by second since the start. Raises ValueError where it is refused."""
        now = time()
        asked = {"query": expr, "start": f"{self.started}", "end": f"{now}", "step": "1s"}
        found: list[dict[str, Any]] = self._result("/api/v1/query_range", asked)["result"]
        return found

    def has_data(self, expr: str) -> bool:
        """Whether it had a value at some time; NaN is none."""
        return any(value != "NaN" for series in self.series(expr) for _, value in series["values"])

    def is_up(self, n_targets: int) -> bool:
        up = self._result("/api/v1/query", {"query": "sum(up)"})["result"]
        return bool(up) and up[0]["value"][1] == str(n_targets)

    def firing(self, model: str) -> set[str]:
        """Alerts about that model, or about none."""
        alerts = [alert for alert in self._result("/api/v1/alerts", {})["alerts"] if alert["state"] == "firing"]
        return {a["labels"]["alertname"] for a in alerts if a["labels"].get("model", model) == model}

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._result("/api/v1/rules", {})["groups"] for rule in group["rules"]]

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        asked = {"query": expr, "start": f"{self.started}", "end": f"{time()}"}
        found: Any = self._result("/api/v1/query_exemplars", asked)
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def _result(self, path: str, asked: Mapping[str, str]) -> Any:
        reply = self.client.get(path, params=dict(asked)).json()
        if reply["status"] != "success":
            raise ValueError(f"{reply['error']}: {asked}")
        return reply["data"]


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], *, key: str) -> Iterator[Prometheus]:
    """Running, with every target up; `key` is shown to them."""
    port = free_port()
    command = ["prometheus", f"--config.file={_write_configuration(folder, targets, key)}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    command += ["--enable-feature=exemplar-storage", "--log.level=warn"]
    with (folder / "log").open("wb") as log:
        popen = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            running = Prometheus(client, time())
            _wait_until_up(running, len(targets), popen, folder / "log")
            yield running
    finally:
        popen.terminate()
        popen.wait(START_SECONDS)


def _wait_until_up(running: Prometheus, n_targets: int, popen: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline:
        assert popen.poll() is None, log.read_text()
        with suppress(httpx2.TransportError, ValueError):
            if running.is_up(n_targets):
                return
        sleep(0.05)
    raise TimeoutError(f"Prometheus did not see {n_targets} targets up: {log.read_text()}")
