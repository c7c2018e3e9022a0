"""Stored answers, feedback and audits over HTTP, on SQLite and on real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demur.settings import AuditSettings, Settings, StoreSettings
from demur.types import Sampling
from tests.redis_server import redis_server
from tests.service.running import Service, serving


def script(question: str, _: Sampling) -> list[str]:
    return ["secret answer"] if "secret" in question else ["Paris", "Paris", "Lyon"]


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def location(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield f"sqlite:///{folder}"
    else:
        with redis_server(folder) as server:
            yield server.url


def _settings(location: str, *, part: str = "demur", text: bool = False, audit_rate: float = 0) -> Settings:
    """`part` names a store of its own at that location."""
    url = f"{location}/{part}.sqlite3" if location.startswith("sqlite") else location
    store = StoreSettings(url=url, prefix=part, timeout_s=20, text=text)
    return Settings(store=store, audit=AuditSettings(rate=audit_rate))


@pytest.fixture(scope="module")
def service(location: str) -> Iterator[Service]:
    with serving(script, settings=_settings(location)) as running:
        yield running


@pytest.fixture(scope="module")
def audited(location: str) -> Iterator[Service]:
    """Every answer is drawn for labelling."""
    settings = _settings(location, part="audited", audit_rate=1)
    with serving(script, settings=settings) as running:
        yield running


def _answer(service: Service, prompt: str = "q", **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = service.ask(prompt, **fields).json()
    assert body["stored"] is True
    return body


def _problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("/problems/")


def test_a_stored_answer_is_shown_with_its_evidence(service: Service) -> None:
    """What the answer said, field by field; without the words, which nobody asked to keep."""
    answer = _answer(service, metadata={"team": "a"})
    shown = service.client.get(f"/v1/answers/{answer['id']}").json()
    same = ["id", "created", "model", "decision", "reason", "policy", "confidence", "calibrated", "uncertainty"]
    same += ["token_confidence", "groundedness", "degraded", "metadata"]
    assert {name: shown[name] for name in same} == {name: answer[name] for name in same}
    assert [(c["size"], c["mass"]) for c in shown["clusters"]] == [(c["size"], c["mass"]) for c in answer["clusters"]]
    assert shown["sampling"]["completed"] == answer["sampling"]["completed"] == 10
    assert (shown["messages"], shown["context"], shown["answer"], shown["audit"]) == (None, None, None, False)
    assert all(cluster["text"] is None for cluster in shown["clusters"])


def test_text_is_kept_where_it_was_asked_for(location: str) -> None:
    """DEMUR_STORE__TEXT: question, passages, answer and meanings."""
    with serving(script, settings=_settings(location, text=True)) as service:
        answer = _answer(service, context=[{"text": "About Paris.", "id": "d1"}])
        shown = service.client.get(f"/v1/answers/{answer['id']}").json()
    assert shown["messages"] == [{"role": "user", "content": "q"}]
    assert shown["context"] == [{"text": "About Paris.", "id": "d1", "title": None, "score": None}]
    assert (shown["answer"], [c["text"] for c in shown["clusters"]]) == (answer["answer"], ["Paris", "Lyon"])


def test_without_being_asked_no_word_reaches_the_store(tmp_path: Path) -> None:
    """Neither the question nor the answer is anywhere in the files."""
    with serving(script, settings=_settings(f"sqlite:///{tmp_path}")) as service:
        _answer(service, "secret question", sampling={"stop": ["secret stop"]})
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"semantic_entropy" in kept
    assert b"secret" not in kept


def test_a_user_is_kept_as_a_hash_only(tmp_path: Path) -> None:
    """Their name is in no file, and no response."""
    with serving(script, settings=_settings(f"sqlite:///{tmp_path}")) as service:
        answer = _answer(service, user="zoe@example.org")
        shown = service.client.get(f"/v1/answers/{answer['id']}").text
        kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert "zoe" not in shown
    assert b"zoe" not in kept
    assert b'"user":"' in kept


def test_a_deleted_answer_is_gone(service: Service) -> None:
    """204, then 404 for reading, deleting and labelling."""
    path = f"/v1/answers/{_answer(service)['id']}"
    assert service.client.delete(path).status_code == 204
    assert _problem(service.client.get(path)) == (404, "not-found")
    assert _problem(service.client.delete(path)) == (404, "not-found")
    feedback = {"answer_id": path.rpartition("/")[2], "label": "correct"}
    assert _problem(service.client.post("/v1/feedback", json=feedback)) == (404, "not-found")


@pytest.mark.parametrize("answer_id", ["ans_01KAQ3M5XV9V3T1N0S8W4Z7YQ2", "x", "%00", "{}", "a" * 2000])
def test_an_unknown_answer_is_not_found(service: Service, answer_id: str) -> None:
    """Whatever its id looks like."""
    assert _problem(service.client.get(f"/v1/answers/{answer_id}")) == (404, "not-found")


def test_feedback_is_accepted_and_listed(service: Service) -> None:
    """202 with what was kept; sent again it is still one; another verdict takes its place."""
    answer_id = _answer(service)["id"]
    for verdict in ({"label": "correct"}, {"label": "correct"}, {"score": 0.5, "reference": "Lyon", "comment": "hm"}):
        response = service.client.post("/v1/feedback", json={"answer_id": answer_id, **verdict})
        assert response.status_code == 202, response.text
    grader = service.client.post("/v1/feedback", json={"answer_id": answer_id, "label": "partial", "source": "grader"})
    listed = service.client.get("/v1/feedback", params={"limit": 500}).json()
    mine = [each for each in listed["data"] if each["answer_id"] == answer_id]
    assert sorted(mine, key=lambda each: each["source"]) == [grader.json(), response.json()]
    assert (response.json()["score"], response.json()["label"]) == (0.5, None)


def test_feedback_is_paged(service: Service) -> None:
    """Following `next` gives each once."""
    for _ in range(5):
        service.client.post("/v1/feedback", json={"answer_id": _answer(service)["id"], "label": "correct"})
    whole = service.client.get("/v1/feedback", params={"limit": 500}).json()["data"]
    found, following = [], None
    while True:
        page = service.client.get("/v1/feedback", params={"limit": 2} | ({"after": following} if following else {}))
        found += page.json()["data"]
        following = page.json()["next"]
        if following is None:
            break
    assert found == whole


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"label": "correct", "score": 1}, ""),
        ({}, ""),
        ({"label": "right"}, "/label"),
        ({"score": 1.01}, "/score"),
        ({"score": "NaN"}, "/score"),
        ({"label": "correct", "source": "me"}, "/source"),
        ({"label": "correct", "comment": "x" * 2001}, "/comment"),
        ({"label": "correct", "lable": 1}, "/lable"),
        ({"label": "correct", "source": "audit"}, "/source"),
    ],
)
def test_wrong_feedback_is_refused(service: Service, body: dict[str, Any], pointer: str) -> None:
    """422 that names the field; a label of source `audit` needs an answer that was drawn for it."""
    response = service.client.post("/v1/feedback", json={"answer_id": _answer(service)["id"], **body})
    assert _problem(response) == (422, "validation-failed")
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize("limit", [0, 501, "many"])
def test_a_page_is_bounded(service: Service, limit: object) -> None:
    assert _problem(service.client.get("/v1/feedback", params={"limit": limit})) == (422, "validation-failed")


def test_audits_are_handed_out_with_their_text_and_labels(audited: Service) -> None:
    """Drawn at rate 1: text kept although nobody asked for all texts; labelled ones can be told from the others."""
    first, second = _answer(audited)["id"], _answer(audited)["id"]
    label = {"answer_id": first, "label": "correct", "source": "audit"}
    assert audited.client.post("/v1/feedback", json=label).status_code == 202
    audits = audited.client.get("/v1/audits").json()["data"]
    assert [audit["id"] for audit in audits][:2] == sorted([first, second], reverse=True)
    assert all(audit["audit"] and audit["messages"][0]["content"] == "q" for audit in audits)
    labelled = audited.client.get("/v1/audits", params={"labelled": True}).json()["data"]
    assert [(audit["id"], audit["feedback"][0]["label"]) for audit in labelled] == [(first, "correct")]
    todo = audited.client.get("/v1/audits", params={"labelled": False}).json()["data"]
    assert first not in [audit["id"] for audit in todo]
    assert second in [audit["id"] for audit in todo]


def test_nothing_is_drawn_by_default(service: Service) -> None:
    """DEMUR_AUDIT__RATE is 0."""
    _answer(service)
    assert service.client.get("/v1/audits").json() == {"object": "list", "data": [], "next": None}


def test_about_the_share_that_was_asked_for_is_drawn(location: str) -> None:
    """Of 200 answers at rate 0.3, 60 on average; fewer than 25 or more than 100 happen once in a billion."""
    settings = _settings(location, part="share", audit_rate=0.3)
    with serving(script, settings=settings) as service:
        before = len(service.client.get("/v1/audits", params={"limit": 500}).json()["data"])
        for _ in range(200):
            _answer(service, sampling={"n": 2})
        drawn = len(service.client.get("/v1/audits", params={"limit": 500}).json()["data"]) - before
    assert 25 <= drawn <= 100


def test_what_was_kept_is_there_after_a_restart(location: str) -> None:
    """Another process of the service, on the same store."""
    with serving(script, settings=_settings(location)) as service:
        answer_id = _answer(service)["id"]
        service.client.post("/v1/feedback", json={"answer_id": answer_id, "label": "incorrect"})
    with serving(script, settings=_settings(location)) as service:
        assert service.client.get(f"/v1/answers/{answer_id}").status_code == 200
        listed = service.client.get("/v1/feedback", params={"limit": 500}).json()["data"]
    assert answer_id in [each["answer_id"] for each in listed]


def test_a_working_store_is_reported(service: Service) -> None:
    assert service.client.get("/readyz").json()["store"]["state"] == "ok"
