"""The moving window of `limits` in Redis, on a connection that the service already has."""

from __future__ import annotations

from typing import Any

from limits.aio.storage.redis import RedisStorage
from redis.exceptions import RedisClusterException, RedisError

from demur.storage.redis_connection import RedisClient

AWAY = (RedisError, RedisClusterException, OSError)  # it cannot be asked now


class SharedWindow(RedisStorage):
    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        super().__init__("redis://", implementation="redispy", key_prefix=prefix)

    def configure_bridge(self) -> None:
        bridge: Any = self.bridge
        bridge.storage = self._client
        bridge.connection_getter = lambda readonly: self._client
