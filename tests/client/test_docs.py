"""What people copy works: code blocks of the documentation, and the examples, against the bundled models."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import demur_client
from tests.service.running import serve_process

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "clients" / "python" / "README.md"]
BLOCKS = [
    pytest.param(code, id=f"{path.name} {number}")
    for path in DOCUMENTS
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.S | re.M), start=1)
]
# Each example, and what it must say: seeds make that the same each time, whatever else the machine does.
EXAMPLES = {
    "plain_http.py": ["answer above_answer_threshold", "10 of 10 mean"],
    "ask.py": ["answer   What is the capital of Peru?", "retrieve Who won the chess tournament in Velm?"],
    "rag.py": ["Lima", "0 passages: retrieve", "1 passages: answer", "Maltby", "retrieve (non_answer)"],
    "stream.py": ["sample 9", "10 samples", "retrieve"],
    "score.py": ["Paris: 80% of its samples agree -> answer", "Lyon: 20% of its samples agree -> retrieve", "Lyon: 0%"],
    "many.py": ["What is the capital of Peru? ->", "Who wrote Hamlet? ->", "(answer)"],
}
# The client by its methods; `async` ones are the same.
METHODS = [name for name in vars(demur_client.Demur) if not name.startswith("_")]
ERRORS = [name for name in demur_client.__all__ if name.endswith("Error")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_process() as process:
        yield process.url


@pytest.fixture(autouse=True)
def _service_is_there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "url" in request.fixturenames:
        monkeypatch.setenv("DEMUR_BASE_URL", request.getfixturevalue("url"))


@pytest.mark.model
@pytest.mark.parametrize("code", BLOCKS)
def test_code_in_the_documentation_runs(url: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As it stands, but for the address; and it prints something."""
    exec(compile(code.replace("http://127.0.0.1:8000", url), "<documentation>", "exec"), {"__name__": "__main__"})  # noqa: S102
    assert capsys.readouterr().out.strip()


@pytest.mark.model
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_say_what_they_should(url: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    shown = capsys.readouterr().out
    for words in EXAMPLES[name]:
        assert words in shown


def test_there_is_code_in_the_documentation() -> None:
    assert len(BLOCKS) >= 12


@pytest.mark.parametrize("name", [*METHODS, *ERRORS, "RagLoop"])
def test_the_clients_reference_names_everything(name: str) -> None:
    """Every method, resource and error of the client stands in docs/sdk.md."""
    assert re.search(rf"`{name}\b", (ROOT / "docs" / "sdk.md").read_text("utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Those within the repository."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    for link in links:
        assert "://" in link or (path.parent / link).exists(), link
