"""Durable records, and the short-lived entries that make a repeated request safe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from demur.storage.records import AnswerRecord, Calibration, Feedback, LabelledAnswer, Suspension

T = TypeVar("T")

MAX_PAGE = 500


def place(created: int, *names: str) -> str:
    """Where something stands in a list; sorted as text, the oldest comes first. It is the cursor as well."""
    return ":".join([f"{created:012d}", *names])


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list. `next` is the cursor of the part that follows; None: this is the last one."""

    items: tuple[T, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """`ok`: what is acknowledged is durable. `filling`: it is, but room runs out. `not_durable`: it could be lost, so
    nothing is acknowledged. `away`: no answer. `detail` says why, and how to mend it.
    """

    state: Literal["ok", "filling", "not_durable", "away"]
    detail: str


@dataclass(frozen=True, slots=True)
class Started:
    """The caller is the first with this key, and holds it until it finishes, abandons, or its time is over."""

    holder: str


@dataclass(frozen=True, slots=True)
class InProgress:
    """Somebody else holds the key, and will for `seconds_left` at most."""

    seconds_left: float


@dataclass(frozen=True, slots=True)
class Replay:
    """The work was done before; this is what `finish` was given."""

    response: bytes


class Store(Protocol):
    """Keeps records. Each method either does what it says or raises; nothing is retried or queued.

    What writes a record returns once the record is durable: it survives a crash of this process, of the database and
    of the machine. Every method raises StoreUnavailable where the store is away, too slow, or cannot keep that promise;
    those that write also StoreFull where there is no room.

    Lists have the newest answers first and are paged: `after` is the `next` of the page before, `limit` in
    [1, MAX_PAGE] bounds the page. What is added or removed meanwhile never makes a page skip or repeat anything else.
    """

    @property
    def name(self) -> str:
        """Where the records are, for people; without credentials."""

    async def add_answer(self, record: AnswerRecord) -> None:
        """Keep `record`. One of the same id stays as it was, except that an audit takes its place."""

    async def get_answer(self, answer_id: str, *, tenant: str | None = None) -> AnswerRecord:
        """Of that tenant, or with None of any. Raises: NotFound, which does not tell unknown from another's."""

    async def delete_answer(self, answer_id: str, *, tenant: str | None = None) -> None:
        """Forget the answer and all feedback on it. Raises: NotFound, as `get_answer`."""

    async def add_feedback(self, feedback: Feedback, *, tenant: str | None = None) -> None:
        """Keep it, in place of an earlier one of the same source and key. Raises: NotFound, as `get_answer`."""

    async def list_feedback(self, *, after: str | None = None, limit: int = 100) -> Page[Feedback]:
        """All feedback, on the newest answers first."""

    async def list_audits(self, *, after: str | None = None, limit: int = 100) -> Page[LabelledAnswer]:
        """Answers drawn for labelling, with the feedback on them."""

    async def sweep(self, *, created_before: int) -> int:
        """Forget answers (and their feedback) created before that Unix time; the number of answers forgotten.

        Calibrations stay: they are few, and rolling back needs the old ones.
        """

    async def add_calibration(self, calibration: Calibration) -> None:
        """Keep it, inactive. Raises: ValueError where the id is taken."""

    async def get_calibration(self, calibration_id: str) -> Calibration:
        """Raises: NotFound."""

    async def list_calibrations(self, *, after: str | None = None, limit: int = 100) -> Page[Calibration]:
        """Of every profile key, the newest first."""

    async def activate_calibration(self, calibration_id: str) -> Calibration:
        """Make it the one active calibration of its profile key; rolling back is activating the old one.

        Raises: NotFound.
        """

    async def active_calibration(self, profile_key: str) -> Calibration | None:
        """The one that was activated last, or None."""

    async def active_calibrations(self) -> tuple[Calibration, ...]:
        """The active one of every profile key that has any, in no order: a handful."""

    async def add_suspension(self, suspension: Suspension) -> None:
        """Keep it; an earlier one of the same calibration and scope stays."""

    async def list_suspensions(self) -> tuple[Suspension, ...]:
        """All of them, in no order: at most two for each calibration."""

    async def begin(
        self, scope: str, key: str, fingerprint: str, *, hold_seconds: float
    ) -> Started | InProgress | Replay:
        """Claim a request's idempotency key within a scope.

        `hold_seconds` bounds how long the holder may take: after it, another may begin, so that a crashed holder blocks
        nobody for longer. Raises: IdempotencyMismatch where the key was used with another fingerprint.
        """

    async def finish(self, scope: str, key: str, holder: str, response: bytes, *, keep_seconds: float) -> bool:
        """Remember the response for that long. False, and nothing done, where `holder` holds the key no more."""

    async def abandon(self, scope: str, key: str, holder: str) -> None:
        """Give the key back, so that the request can be sent again; nothing where `holder` holds it no more."""

    async def health(self) -> Health:
        """Whether the store can keep its promise now. Never raises."""

    async def aclose(self) -> None:
        """Close connections; waits for what is being written."""
