"""What was acknowledged survives: services and Redis killed at random moments, and the order of calls to the disk."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import sleep

import httpx2
import pytest

from demur.errors import NotFound
from demur.storage.base import MAX_PAGE, Store
from demur.storage.redis import RedisStore
from demur.storage.sqlite import SqliteStore
from tests.redis_server import START_SECONDS, RedisServer, redis_server
from tests.service.running import wait_for
from tests.service.store_process import StoreProcess

N_CLIENTS = 4


@dataclass
class Acknowledged:
    """What the service said yes to: ids of stored answers, comments of accepted feedback, ids of deleted answers."""

    stored: set[str] = field(default_factory=set)
    feedback: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)

    @property
    def n(self) -> int:
        return len(self.stored) + len(self.feedback) + len(self.deleted)


@dataclass
class Place:
    """A store that outlives the processes; `redis` is None for SQLite."""

    url: str
    redis: RedisServer | None

    async def open(self) -> Store:
        if self.redis:
            return RedisStore(self.url, prefix="demur", timeout_seconds=START_SECONDS)
        return await SqliteStore.open(Path(self.url.removeprefix("sqlite:///")))


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/demur.sqlite3", None)
    else:
        with redis_server(tmp_path / "redis") as redis:
            yield Place(redis.url, redis)


@contextmanager
def _clients(url: str, said: Acknowledged) -> Iterator[None]:
    """Ask, label and now and then delete, as fast as answers come, until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=_talk, args=(url, said, stop, name)) for name in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(START_SECONDS)


def _talk(url: str, said: Acknowledged, stop: threading.Event, name: int) -> None:
    with httpx2.Client(base_url=url, timeout=START_SECONDS) as client:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                _exchange(client, said, f"{name}-{turn}", is_regretted=(turn + name) % 3 == 0)
            except httpx2.HTTPError:
                stop.wait(0.02)  # killed: the block ends soon


def _exchange(client: httpx2.Client, said: Acknowledged, comment: str, *, is_regretted: bool) -> None:
    answer = client.post("/v1/answer", json={"prompt": "q", "sampling": {"n": 2}}).json()
    if not answer.get("stored"):
        return
    said.stored.add(answer["id"])
    feedback = {"answer_id": answer["id"], "label": "correct", "comment": comment}
    if client.post("/v1/feedback", json=feedback).status_code == 202:
        said.feedback[answer["id"]] = comment
    if is_regretted:
        said.stored.discard(answer["id"])  # from now on it may be there or not,
        said.feedback.pop(answer["id"], None)
        if client.delete(f"/v1/answers/{answer['id']}").status_code == 204:
            said.deleted.add(answer["id"])  # and from now on it must not


async def _assert_kept(store: Store, said: Acknowledged) -> None:
    for answer_id in said.stored:
        assert (await store.get_answer(answer_id)).id == answer_id
    for answer_id in said.deleted:
        with pytest.raises(NotFound):
            await store.get_answer(answer_id)
    found, page = {}, await store.list_feedback(limit=MAX_PAGE)
    found.update({each.answer_id: each.comment for each in page.items})
    while page.next:
        page = await store.list_feedback(after=page.next, limit=MAX_PAGE)
        found.update({each.answer_id: each.comment for each in page.items})
    assert said.feedback.items() <= found.items()
    assert not said.deleted & found.keys()


def _kill(victim: str, service: StoreProcess, place: Place) -> None:
    if victim != "redis":
        service.kill()
    if victim != "service" and place.redis:
        place.redis.kill()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "n_rounds", [pytest.param(10, id="10 rounds"), pytest.param(100, id="100 rounds", marks=pytest.mark.slow)]
)
@pytest.mark.timeout(3000)
async def test_everything_acknowledged_is_there_after_kills_at_random_moments(place: Place, n_rounds: int) -> None:
    """Each round: four clients talk to the service, then it, or Redis, or both are killed in the middle of it."""
    random = Random(n_rounds)
    said = Acknowledged()
    service = StoreProcess(place.url)
    with ExitStack() as stack:
        stack.callback(service.kill)
        for _ in range(n_rounds):
            if not service.is_running:
                service.start()
            enough = said.n + random.randint(1, 40)
            with _clients(service.url, said):
                wait_for(lambda enough=enough: said.n >= enough, "much to be acknowledged")  # type: ignore[misc]
                sleep(random.uniform(0, 0.02))  # noqa: ASYNC251 - a random moment in a call; nothing else runs here
                _kill(random.choice(["service", "redis", "both"]) if place.redis else "service", service, place)
            if place.redis:
                place.redis.kill()
                place.redis.start()
            async with aclosing(await place.open()) as store:
                await _assert_kept(store, said)
    assert min(len(said.stored), len(said.feedback), len(said.deleted)) >= n_rounds / 2


@contextmanager
def _traced(pid: int, log: Path, calls: str) -> Iterator[None]:
    """System calls of a process and its threads, with the names of files."""
    assert shutil.which("strace"), "this test needs strace: make system-packages"
    command = ["strace", "-f", "-y", "-s", "64", "-e", f"trace={calls}", "-o", str(log), "-p", str(pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr
        assert "attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(START_SECONDS)
        assert tracer.stderr
        tracer.stderr.close()


def _places(lines: list[str], pattern: str) -> list[int]:
    return [number for number, line in enumerate(lines) if re.search(pattern, line)]


def _stored_id(client: httpx2.Client) -> str:
    answer = client.post("/v1/answer", json={"prompt": "q"}).json()
    assert answer["stored"] is True
    answer_id: str = answer["id"]
    return answer_id


def test_sqlite_has_synced_before_the_service_says_yes(tmp_path: Path) -> None:
    """The last write to the log is followed by a completed sync of the log, and only then comes the 202.

    A kill cannot show this, because the kernel keeps what was written; a power cut would.
    """
    service, log = StoreProcess(f"sqlite:///{tmp_path}/demur.sqlite3"), tmp_path / "trace"
    with ExitStack() as stack:
        stack.callback(service.kill)
        service.start()
        client = stack.enter_context(httpx2.Client(base_url=service.url, timeout=START_SECONDS))
        answer_id = _stored_id(client)
        with _traced(service.pid, log, "pwrite64,write,fdatasync,fsync,sendto,sendmsg"):
            response = client.post("/v1/feedback", json={"answer_id": answer_id, "label": "correct"})
            assert response.status_code == 202
    lines = log.read_text().splitlines()
    (reply,) = _places(lines, r"HTTP/1\.1 202")
    written = [at for at in _places(lines, r"pwrite64\(.*-wal>") if at < reply]
    synced = [at for at in _places(lines, r"fdatasync(\(.*-wal>\)| resumed>\)) += 0") if at < reply]
    assert written
    assert synced
    assert written[-1] < synced[-1] < reply


def test_redis_has_synced_before_it_says_yes(tmp_path: Path) -> None:
    """appendfsync always: a write to the append-only file, its sync, and only then the reply that the 202 waits for."""
    log = tmp_path / "trace"
    with redis_server(tmp_path / "redis") as redis, ExitStack() as stack:
        service = StoreProcess(redis.url)
        stack.callback(service.kill)
        service.start()
        client = stack.enter_context(httpx2.Client(base_url=service.url, timeout=START_SECONDS))
        answer_id = _stored_id(client)
        with _traced(redis.pid, log, "write,writev,fdatasync,fsync,read"):
            response = client.post("/v1/feedback", json={"answer_id": answer_id, "label": "correct"})
            assert response.status_code == 202
    lines = log.read_text().splitlines()
    asked = _places(lines, r"read\(.*MULTI")[0]
    written = next(at for at in _places(lines, r"write\(.*appendonly.*\.aof>") if at > asked)
    synced = next(at for at in _places(lines, r"fdatasync(\(.*\.aof>\)| resumed>\)) += 0") if at > asked)
    replied = next(at for at in _places(lines, r"write\(\d+<(socket|TCP).*QUEUED") if at > asked)
    assert asked < written < synced < replied
