"""Real vLLM engines on a CPU: one in this process, one behind `vllm serve`; both on the bundled model, in float32."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx2
import pytest
from prometheus_client import REGISTRY

import demur
from demur.samplers.vllm import VLLMSampler

MODEL = Path(demur.__file__).parent / "bundled" / "facts"
START_SECONDS = 280

# Fewer places than draws, so that there is something to stop when a request is left.
MAX_NUM_SEQS = 8
ARGUMENTS = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": MAX_NUM_SEQS}

# One thread, as a machine that runs tests has other work, and half a gigabyte or so for what the engine remembers.
CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def running_sampler(**arguments: Any) -> Iterator[VLLMSampler]:
    """Its engine is shut down at the end, whether or not the sampler was closed."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vLLM's and torch's own, on import
        for name, value in CPU.items():
            patch.setenv(name, value)
        sampler = VLLMSampler.load(str(MODEL), arguments={**ARGUMENTS, **arguments})
    engine = sampler.engine
    try:
        yield sampler
    finally:
        engine.shutdown()


def sharing(sampler: VLLMSampler) -> VLLMSampler:
    """Another sampler on the same engine, which outlives it."""
    from demur.samplers.vllm_engine import VLLMEngine  # vLLM is not there where these tests are left out

    class Shared(VLLMEngine):
        def __init__(self) -> None:
            self.__dict__.update(sampler.engine.__dict__)

        def shutdown(self) -> None: ...

    return VLLMSampler(Shared(), model=sampler.model)


@dataclass
class Server:
    """`vllm serve` in a process of its own, which takes a while to be ready."""

    base_url: str
    process: subprocess.Popen[bytes]

    def url(self) -> str:
        """With its /v1 path, once it answers."""
        deadline = monotonic() + START_SECONDS
        while monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx2.get(f"{self.base_url}/health").status_code == 200:
                    return f"{self.base_url}/v1"
            except httpx2.TransportError:
                sleep(0.2)
        raise RuntimeError(f"vllm serve did not start (exit status {self.process.poll()})")


@contextmanager
def starting_server() -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `vllm serve` runs: that command itself looks for a package called vllm, which the CPU build is not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(MODEL), "--served-model-name", "facts"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command += ["--max-num-seqs", str(MAX_NUM_SEQS)]
    process = subprocess.Popen(command, env={**os.environ, **CPU}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(60)


def here(name: str) -> float:
    """A figure of the engine in this process, summed over its labels."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples if sample.name == name]
    return sum(sample.value for sample in samples)


def there(url: str, name: str) -> float:
    """The same of the engine behind a server."""
    text = httpx2.get(url.removesuffix("/v1") + "/metrics").text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))
