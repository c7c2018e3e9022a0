"""The client as it is installed: its wheel, in an environment that has what the wheel declares and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackagePath, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.service.running import Service

CLIENT = Path(__file__).parents[2] / "clients" / "python"
USE = """
import asyncio, json, sys
from demur_client import AsyncDemur, Demur, RagLoop, ResultEvent, __version__

url = sys.argv[1]
with Demur(base_url=url) as demur:
    loop = RagLoop(demur, lambda question, attempt: ["Paris is the capital."])
    found = [demur.answer("q").answer, loop.run("unsure").decision, demur.cluster(["a", "a"]).assignments]
    found += [event.result.answer for event in demur.answer_stream("q") if isinstance(event, ResultEvent)]

async def ask():
    async with AsyncDemur(base_url=url) as demur:
        return (await demur.score("q", answer="Paris", samples=["Paris"] * 5)).decision

print(json.dumps([*found, asyncio.run(ask()), __version__, sorted(sys.modules)]))
"""
SPENT = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, so that nothing is left beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(CLIENT, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", folder, folder / "source"], check=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that finds the wheel, and copies of what it declares with all that those declare."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
    declared = Distribution.at(packages / Path(metadata).parent).requires or []
    for needed in _with_theirs(declared, {}).values():
        _copy(needed, packages)
    return folder / "bin" / "python"


def _with_theirs(declared: list[str], found: dict[str, Distribution]) -> dict[str, Distribution]:
    for requirement in map(Requirement, declared):
        if requirement.name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found[requirement.name] = distribution(requirement.name)
            _with_theirs(found[requirement.name].requires or [], found)
    return found


def _copy(package: Distribution, to: Path) -> None:
    for file in _modules(package):
        (to / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(package.locate_file(file)), to / file)


def _modules(package: Distribution) -> Iterator[PackagePath]:
    """Not its commands, which lie above, nor what was compiled."""
    return (file for file in package.files or [] if ".." not in file.parts and "__pycache__" not in file.parts)


def _run(python: Path, *arguments: str) -> str:
    """Isolated: neither this folder nor the environment of the tests is looked into."""
    done = subprocess.run([python, "-I", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {Path(name).parts[0] for name in names} == {
        "demur_client",
        f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }
    assert "demur_client/py.typed" in names


def test_it_works_where_nothing_else_is_installed(python: Path, service: Service) -> None:
    """Ask, loop, stream, group, rate; the service's own code and libraries are not there."""
    *found, version, modules = json.loads(_run(python, "-c", USE, service.url))
    assert found == ["Paris", "answer", [0, 0], "Paris", "answer"]
    assert version == "0.1.0"
    assert not {"demur", "numpy", "torch", "fastapi", "rich"} & set(modules)


def test_importing_it_costs_little_more_than_what_it_stands_on(python: Path) -> None:
    """Processor time, the least of five: at most twice that of httpx2 and pydantic (benchmarks/client_import.py)."""

    def least(names: str) -> float:
        return min(float(_run(python, "-c", SPENT.format(names))) for _ in range(5))

    assert least("demur_client") <= 2 * least("httpx2, pydantic.main")
