"""`examples/`: what needs no framework is run here, on the bundled models; the others in `make test-adapters`."""

from __future__ import annotations

import runpy
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def _tests() -> str:
    return "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_run_by_some_test(example: str) -> None:
    assert f'"{example}"' in _tests()


@pytest.mark.parametrize("adapter", ["langchain", "llama_index", "haystack"])
def test_an_adapter_is_one_small_module(adapter: str) -> None:
    """At most 200 lines, and importing the client brings no framework in."""
    source = (ROOT / "clients" / "python" / "src" / "demur_client" / f"{adapter}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 200
    assert adapter not in (ROOT / "clients/python/src/demur_client/__init__.py").read_text(encoding="utf-8")


@pytest.mark.model
def test_the_example_of_openais_client(
    bundled: httpx2.Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers what the model knows, not what it guesses at, and streams."""
    monkeypatch.setenv("DEMUR_BASE_URL", str(bundled.base_url).rstrip("/"))
    runpy.run_path(str(ROOT / "examples" / "openai_client.py"), run_name="__main__")
    shown = capsys.readouterr().out.splitlines()
    assert any("Florida" in line and "-> answer" in line for line in shown)
    assert any("Wyoming" in line and "-> retrieve" in line for line in shown)
    assert any("Paris" in line and line.endswith("answer") for line in shown)
    assert shown[-1] == "I don't know."
