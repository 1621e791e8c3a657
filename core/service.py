"""The core, opened: each part outlives those below it, and the closing of the blocks is the shutdown.

    async with trio_asyncio.open_loop(), open_core(settings) as core:
        with core.desk.ask([Wanted("bitcoin", ("usd",))], caller="user:ann") as request: ...

A background task that crashes ends the block with its error: better no service than one that only looks alive.
"""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio
from redis.asyncio import Redis
from trio_asyncio import aio_as_trio

from core import outbox
from core.callers import Callers
from core.coin_list import CoinList
from core.coingecko import open_coingecko
from core.coordinator import Coordinator
from core.flusher import Flusher
from core.history import History
from core.lag import Lag
from core.ledger import Ledger
from core.metrics import Metrics
from core.partitions import Partitions
from core.postgres import open_postgres
from core.price_desk import PriceDesk
from core.redis_link import RedisLink
from core.result_feed import ResultFeed
from core.settings import Settings
from core.snapshots import Snapshots
from core.streams import Streams
from core.tally import Tally
from core.watch import Broadcast
from core.windows import Windows

# For the last words, to Redis and to monitors, when everything else has ended.
_GOODBYE_S = 0.3


class Core(msgspec.Struct, frozen=True):
    """What the front of the house needs of it."""

    desk: PriceDesk
    callers: Callers
    coordinator: Coordinator
    history: History
    coin_list: CoinList
    metrics: Metrics
    streams: Streams


@asynccontextmanager
async def open_core(settings: Settings) -> AsyncIterator[Core]:
    """Open the core inside a trio_asyncio loop, subscribed to its feed; Redis and Postgres may be away."""
    instance = _instance_name()
    redis_url = settings.redis_url.get_secret_value()
    link = RedisLink(redis_url)
    coordinator = Coordinator(link, settings)
    broadcast = Broadcast(instance, coordinator)
    tally, lag = Tally(), Lag()
    async with (
        open_postgres(settings.database_url.get_secret_value()) as postgres,
        open_coingecko(settings) as coingecko,
        _open_outbox(redis_url) as outbox_redis,
        trio.open_nursery() as nursery,
    ):
        history = History(postgres)
        writer = outbox.OutboxWriter(outbox_redis, history, instance, tell=broadcast.tell)
        partitions = Partitions(postgres, retention_s=settings.history_retention_s)
        flusher = Flusher(settings, coordinator, link, coingecko, tally, broadcast)
        ledger = Ledger(settings, coordinator, history, coingecko, tally)
        windows = Windows(settings, link, coordinator, flusher, ledger, tally)
        callers = Callers(coordinator, broadcast)
        desk = PriceDesk(settings, coordinator, windows, callers, tally, broadcast)
        snapshots = Snapshots(settings, coordinator, desk, windows, callers, tally)
        coin_list = CoinList(settings, coordinator, ledger, coingecko)
        streams = Streams(coordinator, settings.max_streams_per_user)
        metrics = Metrics(settings, coordinator, link, desk, callers, tally, lag, streams)
        feed = ResultFeed(redis_url, windows, streams, broadcast)

        await nursery.start(link.run)
        await nursery.start(writer.run)
        await nursery.start(windows.run)
        await nursery.start(desk.run)
        await nursery.start(feed.run)
        nursery.start_soon(broadcast.run, snapshots)
        nursery.start_soon(lag.run)
        nursery.start_soon(partitions.run)
        nursery.start_soon(ledger.run)
        nursery.start_soon(coin_list.run)
        broadcast.tell_started()
        yield Core(desk, callers, coordinator, history, coin_list, metrics, streams)
        await windows.finish()
        with trio.move_on_after(_GOODBYE_S):
            await broadcast.say_goodbye(snapshots)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_outbox(redis_url: str) -> AsyncIterator[Redis]:
    redis = outbox.connect(redis_url)
    try:
        yield redis
    finally:
        with trio.move_on_after(_GOODBYE_S, shield=True):
            await aio_as_trio(redis.aclose)()


def _instance_name() -> str:
    """A name that tells an operator where it runs, and that no other instance has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
