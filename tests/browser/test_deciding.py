"""The page decides as the service does."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

from demur.policy import decide
from demur.types import Policy, Retrieval, Signals
from tests.browser.conftest import Opener
from tests.service.running import Service

SHARES = (0.0, 0.5, 0.8, 1.0)
MAYBE = (None, 0.3, 0.6)
POLICIES = ["default", {"answer_min": 0.5}, {"answer_min": 0.9, "retrieve_min": 0.6}, {"groundedness_min": 0.5}]
PASSAGES: list[list[dict[str, str]]] = [[], [{"text": "Paris"}], [{"text": "Lyon"}]]
RETRIEVALS: list[dict[str, Any]] = [{}, {"attempt": 1}, {"available": False}, {"attempt": 1, "max_attempts": 3}]

_DECIDE = """async ([signals, policies, retrievals]) => {
  const { decide } = await import("/playground/policy.js");
  const said = ({ decision, reason }) => `${decision} ${reason}`;
  return signals.flatMap((s) => policies.flatMap((p) => retrievals.map((r) => said(decide(s, p, r)))));
}"""
_READ = """async (cases) => {
  const { decide } = await import("/playground/policy.js");
  const { signalsOf } = await import("/playground/signals.js");
  return cases.map(([result, passages, retrieval]) => {
    const d = decide(signalsOf(result, { passages }), result.policy, retrieval);
    return [d.decision, d.reason];
  });
}"""


def all_signals() -> list[Signals]:
    grid = itertools.product((1, 4, 5), SHARES, (True, False), (True, False), (True, False, None), MAYBE, (True, False))
    return [
        Signals(
            n_samples=n,
            confidence=confidence,
            is_calibrated=is_calibrated,
            is_non_answer=is_non_answer,
            greedy_agrees=greedy_agrees,
            groundedness=groundedness,
            is_grounding_unknown=flag and groundedness is None,
            contradicts_context=flag and groundedness is not None,
            deadline_reached=flag,
        )
        for n, confidence, is_calibrated, is_non_answer, greedy_agrees, groundedness, flag in grid
    ]


def test_the_port_is_the_policy(scripted: Service, opened: Opener) -> None:
    """On a grid that meets each threshold from both sides and exactly: the same decision, the same reason."""
    policies = [
        Policy("p", a, b, r, g) for a, b, r, g in itertools.product((0.5, 0.8), (0.0, 1.0), (0.0, 0.8), (None, 0.6))
    ]
    retrievals = [Retrieval(), Retrieval(attempt=1), Retrieval(available=False), Retrieval(attempt=1, max_attempts=2)]
    parts = all_signals(), policies, retrievals
    said = opened(scripted.url).page.evaluate(_DECIDE, [[asdict(each) for each in part] for part in parts])
    cases = list(itertools.product(*parts))
    assert len(cases) > 50_000
    wanted = [f"{d.action} {d.reason}" for d in itertools.starmap(decide, cases)]
    wrong = [(case, a, b) for case, a, b in zip(cases, said, wanted, strict=True) if a != b]
    assert not wrong, wrong[:3]


def test_responses_tell_what_the_policy_saw(scripted: Service, opened: Opener) -> None:
    """From the response alone the page comes to the service's decision, for all samples, passages, thresholds."""
    prompts = ("sure", "8 of 10", "split", "all differ", "no idea", "greedy is alone")
    include = ["clusters", "samples", "nli"]
    cases, wanted = [], []
    asked = itertools.product(prompts, POLICIES, PASSAGES)
    others = itertools.cycle(itertools.product(RETRIEVALS, (10, 10, 4)))
    for (prompt, policy, context), (retrieval, n) in zip(asked, others, strict=False):
        body = {"prompt": prompt, "policy": policy, "context": context, "retrieval": retrieval, "sampling": {"n": n}}
        result = scripted.client.post("/v1/answer", json={**body, "include": include}).json()
        cases.append([result, context, {"available": True, "attempt": 0, "max_attempts": 1, **retrieval}])
        wanted.append([result["decision"], result["reason"]])
    assert {decision for decision, _ in wanted} == {"answer", "retrieve", "abstain"}
    assert opened(scripted.url).page.evaluate(_READ, cases) == wanted


def test_each_slider_moves_its_threshold(scripted: Service, opened: Opener) -> None:
    """5 of 10: enough from 0.5 on, hopeless where 0.51 is the least, ungrounded where nothing supports it."""
    page = opened(scripted.url)
    page.ask("split")
    assert page.verdict == "Retrieve"
    page.set_slider("Answer from confidence", 0.5)
    assert page.verdict == "Answer"
    assert page.why.endswith("5 of 10 samples mean it, agreement 0.50 ≥ 0.50.")
    page.set_slider("Answer from confidence", 0.51)
    page.set_slider("Retrieve from confidence", 0.51)
    assert page.verdict == "Abstain"
    page.page.get_by_role("button", name="Add a passage").click()
    page.page.keyboard.type("Bananas are yellow.")
    page.ask("8 of 10")
    assert page.verdict == "Answer"
    page.page.get_by_label("Demand groundedness of").check()
    assert page.verdict == "Abstain"
    assert page.why == "The passages contradict the answer: groundedness 0.01 < 0.50."
    page.set_slider("Groundedness at least", 0.01)
    assert page.verdict == "Answer"
