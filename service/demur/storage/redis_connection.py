"""One way to reach Redis, whichever form it is run in.

Its client is imported where it is opened: with what it brings it is a tenth of the service's imports, and many run
without Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import SplitResult, urlsplit, urlunsplit

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

RedisClient: TypeAlias = "Redis | RedisCluster"
_SENTINEL_PORT = 26379


def is_redis(url: str) -> bool:
    return urlsplit(url).scheme in {"redis", "rediss", "unix", "redis+sentinel", "redis+cluster"}


def open_redis(url: str, *, timeout_seconds: float) -> RedisClient:
    """A client for `redis://`, `rediss://`, `redis+sentinel://host,host/service/db` or `redis+cluster://`.

    Nothing is sent yet. Each command waits at most `timeout_seconds` and is not repeated: whoever asked knows better
    what to do without an answer. Raises: ValueError where the URL cannot be understood.
    """
    from redis.asyncio import Redis, RedisCluster
    from redis.backoff import NoBackoff
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "protocol": 3,
        "retry": Retry(NoBackoff(), 0),
        # with them redis-py takes connections that the server has closed for good ones (8.1), and a restart costs a
        # failed call for each
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    parts = urlsplit(url)
    if parts.scheme == "redis+sentinel":
        return _through_sentinels(parts, timeout_seconds, options)
    if parts.scheme == "redis+cluster":
        plain = urlunsplit(parts._replace(scheme="redis"))
        return RedisCluster.from_url(plain, **options)
    return Redis.from_url(url, **options)


def _through_sentinels(parts: SplitResult, timeout_seconds: float, options: dict[str, Any]) -> Redis:
    from redis.asyncio import Redis, Sentinel

    credentials, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.lstrip("/").partition("/")
    if not hosts or not service:
        raise ValueError("write redis+sentinel://[user:password@]host:port,host:port/service[/database]")
    sentinels = [urlsplit(f"//{host}") for host in hosts.split(",")]
    addresses = [(host.hostname or "127.0.0.1", host.port or _SENTINEL_PORT) for host in sentinels]
    login = urlsplit(f"//{credentials}@") if credentials else None
    sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
        addresses, sentinel_kwargs={"socket_timeout": timeout_seconds}
    )
    master = sentinel.master_for(
        service,
        db=int(database or 0),
        username=login.username if login else None,
        password=login.password if login else None,
        **options,
    )
    assert isinstance(master, Redis)  # noqa: S101 - redis-py leaves the type open
    return master


async def close_redis(client: RedisClient) -> None:
    """Close its connections, those to the sentinels as well."""
    await client.aclose()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager else []:
        await sentinel.aclose()
