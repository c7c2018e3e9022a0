"""What the images and the compose file promise, as far as it shows without a Docker engine.

The Dockerfile is read with a small parser and the compose file as YAML; the health check is run for real.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from opentelemetry.sdk import environment_variables as opentelemetry
from packaging.requirements import Requirement

from demur.settings import Settings, StoreSettings
from tests.redis_server import redis_server
from tests.service.running import Service, serving

ROOT = Path(__file__).parents[2]
PUBLIC_TARGETS = ("remote", "cpu", "gpu")
SERVICES = {"api", "redis", "prometheus", "grafana", "tei", "vllm"}
# Images of others that expect root; compose takes all its capabilities.
ROOT_SERVICES = {"tei", "vllm"}
WRITABLE_SERVICES = {"vllm"}


@dataclass(frozen=True)
class Stage:
    name: str
    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, keyword: str) -> list[str]:
        return [arguments for word, arguments in self.instructions if word == keyword]


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        keyword, _, arguments = line.partition(" ")
        yield keyword, arguments.strip()


def _stages() -> dict[str, Stage]:
    """In the order of the file."""
    found: dict[str, Stage] = {}
    arguments: dict[str, str] = {}
    for keyword, rest in _instructions((ROOT / "Dockerfile").read_text()):
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = Stage(name, re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], base), ())
        elif not found:
            assert keyword == "ARG"
            arguments.update([rest.split("=", 1)])
        else:
            last = found[list(found)[-1]]
            found[last.name] = Stage(last.name, last.base, (*last.instructions, (keyword, rest)))
    return found


STAGES = _stages()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def _lineage(name: str) -> list[Stage]:
    """The stage and those it is built from, the first one first."""
    stage = STAGES[name]
    return [*(_lineage(stage.base) if stage.base in STAGES else []), stage]


def _last(name: str, keyword: str) -> str:
    return [arguments for stage in _lineage(name) for arguments in stage.all(keyword)][-1]


def _environment(name: str) -> dict[str, str]:
    pairs = [pair for stage in _lineage(name) for line in stage.all("ENV") for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def _setting_names() -> set[str]:
    groups = Settings.model_fields
    return {
        f"DEMUR_{group}__{name}".upper() for group in groups for name in type(groups[group].get_default()).model_fields
    }


def _copies() -> list[tuple[str, list[str]]]:
    """(stage it is from or "", sources) of every COPY."""
    found = []
    for stage in STAGES.values():
        for line in stage.all("COPY"):
            words = line.split()
            origin = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else ""
            found.append((origin, words[:-1]))
    return found


def test_the_three_targets_exist_and_cpu_is_the_default() -> None:
    assert set(PUBLIC_TARGETS) <= STAGES.keys()
    assert list(STAGES)[-1] == "cpu"


def test_every_stage_that_is_copied_from_exists_and_comes_before() -> None:
    for stage in STAGES.values():
        for line in stage.all("COPY"):
            if found := re.match(r"--from=(\S+)", line):
                assert list(STAGES).index(found[1]) < list(STAGES).index(stage.name)


def test_every_copied_file_exists_and_reaches_the_build() -> None:
    """`.dockerignore` excludes everything that it does not name."""
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    sources = {source for origin, sources in _copies() if not origin for source in sources}
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


@pytest.mark.parametrize("target", PUBLIC_TARGETS)
def test_an_image_runs_the_service_as_nobody_in_particular(target: str) -> None:
    """The exec form makes `demur` the first process, which gets SIGTERM."""
    assert json.loads(_last(target, "ENTRYPOINT")) == ["demur", "serve"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", _last(target, "USER"))
    assert _last(target, "EXPOSE") == str(Settings.model_fields["server"].get_default().port)


@pytest.mark.parametrize("target", PUBLIC_TARGETS)
def test_libraries_write_into_the_volume(target: str) -> None:
    environment, volume = _environment(target), _last(target, "VOLUME")
    folders = {name: value for name, value in environment.items() if re.search(r"HOME|CACHE_DIR", name)}
    assert {"HF_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"} <= folders.keys()
    assert all(value.startswith(f"{volume}/") for value in folders.values())
    assert _last(target, "WORKDIR") == volume


@pytest.mark.parametrize("target", PUBLIC_TARGETS)
def test_an_images_settings_are_settings_and_valid(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DEMUR_")]:
        monkeypatch.delenv(name)
    ours = {name: value for name, value in _environment(target).items() if name.startswith("DEMUR_")}
    assert ours.keys() <= _setting_names()
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    if target == "remote":
        monkeypatch.setenv("DEMUR_SAMPLER__BASE_URLS", "http://vllm:8000/v1")
        monkeypatch.setenv("DEMUR_SAMPLER__MODEL", "some-model")
        monkeypatch.setenv("DEMUR_NLI__URL", "http://tei:8080")
    settings = Settings(_env_file=None)
    assert settings.server.host == "0.0.0.0"
    assert settings.server.allow_open
    assert settings.sampler.backend == {"remote": "openai", "cpu": "local", "gpu": "vllm"}[target]


def test_the_remote_image_holds_no_model_library_and_no_model() -> None:
    commands = STAGES["remote-build"].all("RUN")
    assert any("rm -rf service/demur/bundled" in command for command in commands)
    assert not any("torch" in command or "[local]" in command for command in commands)


@pytest.mark.parametrize("stage", ["cpu-build", "gpu"])
def test_the_other_images_hold_the_bundled_models(stage: str) -> None:
    assert not any("bundled" in command for command in STAGES[stage].all("RUN"))


def test_torch_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = next(d for d in project["optional-dependencies"]["local"] if d.startswith("torch=="))
    assert any(f"install {pinned} " in command for command in STAGES["cpu-build"].all("RUN"))


def test_the_gpu_image_has_a_vllm_that_the_extra_takes() -> None:
    """So that installing the extra there moves nothing."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = [found for found in map(Requirement, extras["vllm"]) if found.name == "vllm"]
    assert wanted.specifier.contains(STAGES["gpu"].base.rpartition(":v")[2])
    assert any("'/src[fast,vllm,otel]'" in command for command in STAGES["gpu"].all("RUN"))


def test_packages_come_from_the_default_registry_but_for_torch() -> None:
    commands = [command for stage in STAGES.values() for command in stage.all("RUN")]
    addresses = {address for command in commands for address in re.findall(r"https?://\S+", command)}
    assert addresses == {"https://download.pytorch.org/whl/cpu"}


@pytest.mark.parametrize("target", PUBLIC_TARGETS)
def test_the_health_check_tells_ready_from_draining_and_from_dead(target: str) -> None:
    options, _, command = _last(target, "HEALTHCHECK").partition(" CMD ")
    assert "--start-period=" in options
    with serving({"q": ["a"]}) as service:
        assert _health(command, service) == 0
        service.engine().drain()
        assert _health(command, service) == 1
    assert _health(command, service) == 1


def _health(command: str, service: Service) -> int:
    """The exit status of the image's own command, pointed at a service of ours."""
    port = urlsplit(service.url).port
    environment = {**os.environ, "DEMUR_SERVER__PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(json.loads(command), env=environment, capture_output=True, timeout=30)
    return done.returncode


def test_compose_has_the_services_it_documents() -> None:
    assert COMPOSE["services"].keys() == SERVICES
    without_profile = {name for name, service in COMPOSE["services"].items() if "profiles" not in service}
    assert without_profile == {"api", "redis", "prometheus", "grafana"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_hardened(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in WRITABLE_SERVICES)
    assert not service.get("privileged")
    if name not in ROOT_SERVICES:
        assert re.match(r"[1-9]", service["user"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_says_whether_it_is_healthy(name: str) -> None:
    service = COMPOSE["services"][name]
    if "build" in service:
        assert _last(service["build"]["target"], "HEALTHCHECK")
        return
    test = service["healthcheck"]["test"]
    assert test[0] == "CMD"
    if test[1] == "python3":
        ast.parse(test[3])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_mount_exists_and_ports_stay_on_this_machine(name: str) -> None:
    service = COMPOSE["services"][name]
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", sorted(SERVICES - {"api"}))
def test_images_of_others_are_pinned(name: str) -> None:
    _, _, tag = COMPOSE["services"][name]["image"].rpartition(":")
    assert re.search(r"\d+\.\d+", tag)


def test_vllm_is_the_same_in_the_gpu_image_and_beside_it() -> None:
    assert STAGES["gpu"].base == COMPOSE["services"]["vllm"]["image"]


def test_the_service_in_compose_is_the_bundled_demo_unless_told_otherwise() -> None:
    """A name without a value is taken over only where the user's environment has it."""
    api = COMPOSE["services"]["api"]
    assert api["build"]["target"] == "cpu"
    assert {line.partition("=")[0] for line in api["environment"]} <= _setting_names() | set(vars(opentelemetry))
    assert api["user"] == _last("cpu", "USER")
    assert [volume.split(":")[1] for volume in api["volumes"]] == [_last("cpu", "VOLUME")]
    assert not any(service["required"] for service in api["depends_on"].values())


def test_redis_in_compose_keeps_what_it_acknowledges(tmp_path: Path) -> None:
    """Its own command, run by a real redis-server: the service finds nothing to complain about."""
    command = COMPOSE["services"]["redis"]["command"]
    assert command[0] == "redis-server"
    assert "DEMUR_STORE__URL=${DEMUR_STORE__URL:-redis://redis:6379/0}" in COMPOSE["services"]["api"]["environment"]
    with redis_server(tmp_path, command[1:]) as redis:
        store = StoreSettings(url=redis.url, timeout_s=20)
        with serving({"q": ["a"]}, settings=Settings(store=store)) as service:
            assert service.client.get("/readyz").json()["store"]["state"] == "ok"
            assert service.ask().json()["stored"] is True


def test_prometheus_in_compose_reads_what_is_mounted_and_keeps_exemplars() -> None:
    prometheus = COMPOSE["services"]["prometheus"]
    flags = dict(flag.removeprefix("--").split("=") for flag in prometheus["command"])
    mounted = {volume.split(":")[1] for volume in prometheus["volumes"]}
    assert flags["enable-feature"] == "exemplar-storage"
    assert {flags["config.file"], flags["storage.tsdb.path"]} <= mounted


def test_compose_waits_longer_than_the_service_drains() -> None:
    grace = float(COMPOSE["services"]["api"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["server"].get_default().drain_timeout_s


def test_prometheus_scrapes_the_service() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped["scrape_configs"]}
    assert jobs["demur"] == [f"api:{_last('cpu', 'EXPOSE')}"]
    assert COMPOSE["services"]["api"]["ports"][0].endswith(f":{_last('cpu', 'EXPOSE')}")


def test_grafana_finds_prometheus() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    address = urlsplit(source["url"])
    assert address.hostname in COMPOSE["services"]
    assert COMPOSE["services"][address.hostname]["ports"][0].endswith(f":{address.port}")
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    assert all(any(child.iterdir()) for child in folder.iterdir())
