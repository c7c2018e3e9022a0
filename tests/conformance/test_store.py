"""What every store promises (storage/base.py), on SQLite and on real Redis: alone, as a cluster, behind a sentinel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from demur.errors import NotFound
from demur.storage.base import Page, Store
from demur.storage.records import Suspension
from tests.records import NOON, calibration, feedback, record

pytestmark = pytest.mark.anyio

T = TypeVar("T")
Listing = Callable[..., Awaitable[Page[T]]]


async def _whole(listing: Listing[T], limit: int) -> list[T]:
    """All pages, each within its bound and none empty but the only one."""
    found: list[T] = []
    page = await listing(limit=limit)
    found.extend(page.items)
    while page.next is not None:
        page = await listing(after=page.next, limit=limit)
        assert 0 < len(page.items) <= limit
        found.extend(page.items)
    return found


async def test_a_record_comes_back_as_it_was(stores: tuple[Store, Store]) -> None:
    """Every field, through the other replica."""
    kept = record()
    await stores[0].add_answer(kept)
    assert await stores[1].get_answer(kept.id) == kept
    assert await stores[1].get_answer(kept.id, tenant="alice") == kept


async def test_a_record_without_what_is_optional_comes_back_as_it_was(store: Store) -> None:
    """None stays None."""
    optional = ["nli_model", "token_confidence", "groundedness", "chosen_cluster", "greedy_cluster", "user", "text"]
    kept = record(**dict.fromkeys(optional), metadata={}, clusters=(), sample_logprobs=(), degraded=())
    await store.add_answer(kept)
    assert await store.get_answer(kept.id) == kept


async def test_anothers_answer_is_as_unknown_as_none(store: Store) -> None:
    """Reading, deleting and labelling: the same error and the same words, so that ids cannot be tried out."""
    kept = record(tenant="alice")
    await store.add_answer(kept)
    for use in (store.get_answer, store.delete_answer):
        with pytest.raises(NotFound) as anothers:
            await use(kept.id, tenant="bob")
        with pytest.raises(NotFound) as unknown:
            await use(record().id, tenant="bob")
        assert str(anothers.value).replace(kept.id, "") == _without_id(str(unknown.value))
    with pytest.raises(NotFound):
        await store.add_feedback(feedback(kept.id), tenant="bob")
    assert await store.get_answer(kept.id, tenant="alice") == kept
    assert await _whole(store.list_feedback, 10) == []


def _without_id(message: str) -> str:
    head, _, rest = message.partition("'ans_")
    return f"{head}''{rest.partition(chr(39))[2]}"


@pytest.mark.parametrize("odd", ["", "{}", "}x{", "a:b", "*", "ans_\x00", "Ω" * 300])
async def test_an_odd_id_is_an_unknown_id(store: Store, odd: str) -> None:
    """Nothing in it means anything to the database."""
    for call in (store.get_answer(odd), store.delete_answer(odd), store.add_feedback(feedback(odd))):
        with pytest.raises(NotFound):
            await call


async def test_recording_again_changes_nothing_but_makes_an_audit(store: Store) -> None:
    """An answer from the cache has the id it had; drawn for an audit, its record gets its text and its mark."""
    first = record(text=None)
    await store.add_answer(first)
    await store.add_answer(record(id=first.id, confidence=0.1))
    assert await store.get_answer(first.id) == first
    audit = record(id=first.id, is_audit=True)
    await store.add_answer(audit)
    await store.add_answer(first)
    assert await store.get_answer(first.id) == audit
    assert [each.record for each in await _whole(store.list_audits, 10)] == [audit]


async def test_a_deleted_answer_takes_its_feedback_with_it(store: Store) -> None:
    """Nothing of it is listed, and it cannot be labelled any more; others stay."""
    gone, stays = record(is_audit=True), record(is_audit=True)
    for kept in (gone, stays):
        await store.add_answer(kept)
        await store.add_feedback(feedback(kept.id))
        await store.add_feedback(feedback(kept.id, source="audit", key="bob"))
    await store.delete_answer(gone.id, tenant="alice")
    with pytest.raises(NotFound):
        await store.get_answer(gone.id)
    with pytest.raises(NotFound):
        await store.delete_answer(gone.id)
    with pytest.raises(NotFound):
        await store.add_feedback(feedback(gone.id))
    assert {each.answer_id for each in await _whole(store.list_feedback, 10)} == {stays.id}
    assert [each.record.id for each in await _whole(store.list_audits, 10)] == [stays.id]


async def test_feedback_is_one_word_per_source_and_key(stores: tuple[Store, Store]) -> None:
    """Saying it again changes nothing; another word takes its place; other sources and keys have their own."""
    answer = record()
    await stores[0].add_answer(answer)
    corrected = feedback(answer.id, label=None, score=0.25, reference="Lima", created=NOON + 99)
    other_key, other_source = feedback(answer.id, key="bob:x"), feedback(answer.id, source="audit", label="incorrect")
    for given_feedback in (feedback(answer.id), feedback(answer.id), other_key, other_source, corrected):
        await stores[0].add_feedback(given_feedback)
    kept = await _whole(stores[1].list_feedback, 10)
    assert len(kept) == 3
    assert {*kept} == {corrected, other_key, other_source}


async def test_lists_are_paged_the_newest_first(store: Store) -> None:
    """Whatever the page size: each once, in the same order."""
    answers = [record(NOON + day * 86_400, is_audit=day % 2 == 0) for day in range(7)]
    for answer in answers:
        await store.add_answer(answer)
        await store.add_feedback(feedback(answer.id))
        await store.add_feedback(feedback(answer.id, key="bob"))
    newest_first = [answer.id for answer in reversed(answers)]
    for limit in (1, 2, 3, 14, 500):
        said = await _whole(store.list_feedback, limit)
        assert [each.answer_id for each in said] == [each for each in newest_first for _ in range(2)]
        assert {(each.answer_id, each.key) for each in said} == {(a, k) for a in newest_first for k in ("alice", "bob")}
        audits = await _whole(store.list_audits, limit)
        assert [each.record.id for each in audits] == newest_first[::2]
        assert all([f.key for f in each.feedback] == ["alice", "bob"] for each in audits)


async def test_what_is_added_while_paging_is_no_trouble(store: Store) -> None:
    """Newer answers, and those deleted, make the rest of the list neither skip nor repeat."""
    answers = [record(NOON + i, is_audit=True) for i in range(6)]
    for answer in answers:
        await store.add_answer(answer)
    page = await store.list_audits(limit=2)
    await store.add_answer(record(NOON + 100, is_audit=True))
    await store.delete_answer(answers[4].id)  # the cursor's own
    rest = await _whole(lambda **asked: store.list_audits(**{"after": page.next, **asked}), 3)
    assert [each.record for each in rest] == answers[3::-1]


async def test_any_text_is_a_cursor(store: Store) -> None:
    """A made-up cursor gives some part of the list, never an error."""
    await store.add_answer(record(is_audit=True))
    for cursor in ("", "0", "zzz", "\x00", "(", "+", "[", "Ω"):
        assert len((await store.list_audits(after=cursor, limit=5)).items) <= 1


async def test_sweeping_takes_what_is_older_and_nothing_else(store: Store) -> None:
    """Created before the moment: gone, with its feedback. Created then or later: stays. Calibrations stay."""
    old, new = (
        [record(NOON - 1 - i, is_audit=True) for i in range(3)],
        [record(NOON + i, is_audit=True) for i in (0, 9)],
    )
    for answer in [*old, *new]:
        await store.add_answer(answer)
        await store.add_feedback(feedback(answer.id))
    await store.add_calibration(calibration("cal_old", created=NOON - 10))
    assert await store.sweep(created_before=NOON) == 3
    assert await store.sweep(created_before=NOON) == 0
    assert [each.record for each in await _whole(store.list_audits, 10)] == new[::-1]
    assert {each.answer_id for each in await _whole(store.list_feedback, 10)} == {each.id for each in new}
    for answer in old:
        with pytest.raises(NotFound):
            await store.get_answer(answer.id)
    assert (await store.get_calibration("cal_old")).created == NOON - 10


async def test_sweeping_takes_more_than_a_batch(store: Store) -> None:
    """1,100 old answers are swept at once."""
    old = [record(NOON - i) for i in range(1100)]
    for start in range(0, len(old), 100):
        await asyncio.gather(*(store.add_answer(each) for each in old[start : start + 100]))
    assert await store.sweep(created_before=NOON + 1) == 1100


async def test_calibrations_are_kept_and_listed(stores: tuple[Store, Store]) -> None:
    """The document comes back as it was; an id is given once."""
    kept = [calibration(f"cal_{i}", profile_key=f"key{i % 2}", created=NOON + i) for i in range(4)]
    for each in kept:
        await stores[0].add_calibration(each)
    assert await stores[1].get_calibration("cal_2") == kept[2]
    assert await _whole(stores[1].list_calibrations, 3) == kept[::-1]
    with pytest.raises(ValueError, match="cal_1"):
        await stores[0].add_calibration(calibration("cal_1", created=NOON + 1))
    with pytest.raises(ValueError, match="cal_1"):
        await stores[0].add_calibration(calibration("cal_1", created=NOON + 50))
    assert await _whole(stores[1].list_calibrations, 3) == kept[::-1]
    with pytest.raises(NotFound):
        await stores[0].get_calibration("cal_9")


async def test_one_calibration_is_active_per_profile_key(stores: tuple[Store, Store]) -> None:
    """Activating the new one, then the old one again, as a rollback does; the other replica sees it."""
    old, new, other = calibration("old"), calibration("new"), calibration("other", profile_key="m|relaxed {x}")
    for each in (old, new, other):
        await stores[0].add_calibration(each)
    assert await stores[1].active_calibration(old.profile_key) is None
    for each in (old, new, old):
        assert await stores[0].activate_calibration(each.id) == each
        assert await stores[1].active_calibration(old.profile_key) == each
    assert await stores[1].active_calibration(other.profile_key) is None
    await stores[0].activate_calibration(other.id)
    assert await stores[1].active_calibration(other.profile_key) == other
    assert await stores[1].active_calibration(old.profile_key) == old
    with pytest.raises(NotFound):
        await stores[0].activate_calibration("none")


async def test_active_calibrations_are_told_together(stores: tuple[Store, Store]) -> None:
    """One for each profile key that has any; what was only added is not among them."""
    old, new, other = calibration("old"), calibration("new"), calibration("other", profile_key="m|relaxed {x}")
    for each in (old, new, other):
        await stores[0].add_calibration(each)
    assert await stores[1].active_calibrations() == ()
    for each in (old, new, other):
        await stores[0].activate_calibration(each.id)
    assert {each.id for each in await stores[1].active_calibrations()} == {"new", "other"}
    assert await stores[1].active_calibration("none") is None


async def test_the_first_suspension_stays(stores: tuple[Store, Store]) -> None:
    """One for each calibration and scope, whoever comes first; sweeping leaves them."""
    first = Suspension("cal_1", "closed_book", NOON, 0.1, 100, 30, 9.0, 3.0)
    other = Suspension("cal_1", "two_stage", NOON, 0.1, 50, 20, 9.5, 3.0)
    assert await stores[1].list_suspensions() == ()
    for each in (first, other, replace(first, created=NOON + 1, errors=31)):
        await stores[0].add_suspension(each)
    await stores[0].sweep(created_before=NOON + 100)
    assert set(await stores[1].list_suspensions()) == {first, other}


async def test_much_at_once_is_all_kept(stores: tuple[Store, Store]) -> None:
    """200 answers with feedback, written concurrently through two replicas."""

    async def keep(store: Store, number: int) -> None:
        answer = record(NOON + number)
        await store.add_answer(answer)
        await store.add_feedback(feedback(answer.id))

    await asyncio.gather(*(keep(stores[i % 2], i) for i in range(200)))
    assert len(await _whole(stores[0].list_feedback, 50)) == 200


async def test_a_cancelled_call_harms_no_other(store: Store) -> None:
    """Calls given up at any moment: those that follow get their own answers."""
    answers = [record() for _ in range(30)]
    for answer in answers:
        await store.add_answer(answer)
    for i, answer in enumerate(answers):
        given_up = asyncio.ensure_future(store.get_answer(answers[i - 1].id))
        for _ in range(i % 5):
            await asyncio.sleep(0)
        given_up.cancel()
        assert await store.get_answer(answer.id) == answer


async def test_a_store_that_works_says_so(store: Store) -> None:
    """`ok`, and where the records are."""
    health = await store.health()
    assert (health.state, store.name in health.detail) == ("ok", True)


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=4, max_size=4), number=st.floats(0, 1)
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_and_number_survives(store: Store, texts: list[str], number: float) -> None:
    """Whatever people write: quotes, NUL, emoji, braces."""
    answer = record(metadata={"k": texts[0]}, tenant=texts[1], confidence=number)
    await store.add_answer(answer)
    said = feedback(answer.id, comment=texts[2], key=texts[3], label=None, score=number)
    await store.add_feedback(said)
    assert await store.get_answer(answer.id, tenant=texts[1]) == answer
    assert (await _whole(store.list_feedback, 1))[0] in (said, *await _whole(store.list_feedback, 500))
    await store.delete_answer(answer.id)
