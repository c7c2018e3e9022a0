"""A line in which each tenant has its own queue, and the tenants take turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Within a tenant, first come, first served."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()  # whose turn is next comes first

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues.values())

    def push(self, tenant: str, item: T) -> None:
        self._queues.setdefault(tenant, deque()).append(item)

    def pop(self) -> T:
        """The first of the tenant whose turn it is. Raises IndexError when nobody waits."""
        if not self._queues:
            raise IndexError("nobody waits")
        tenant, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        self._queues.move_to_end(tenant)
        self._drop_if_empty(tenant)
        return item

    def remove(self, tenant: str, item: T) -> None:
        self._queues[tenant].remove(item)
        self._drop_if_empty(tenant)

    def make_room_for(self, tenant: str) -> T | None:
        """Take the last from the longest queue, if that is still no shorter than the one of `tenant` with one more."""
        longest = max(self._queues, key=lambda name: len(self._queues[name]), default=tenant)
        n_own = len(self._queues.get(tenant, ()))
        if len(self._queues.get(longest, ())) < n_own + 2:
            return None
        return self._queues[longest].pop()  # at least one is left

    def _drop_if_empty(self, tenant: str) -> None:
        if not self._queues[tenant]:
            del self._queues[tenant]
