"""What can become of Redis and Postgres for a while, as blocks.

async with OUTAGES["redis cut"](fleet):
    await trio.sleep(1)
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import trio

from tests.faults.fleet import Fleet
from tests.faults.proxy import Proxy

Outage = Callable[[Fleet], AbstractAsyncContextManager[None]]

_SLOW_S = 0.1  # each way
# However a test ends, the servers are there for the next.
_MEND_S = 30.0


@asynccontextmanager
async def _away(harm: Callable[[], Awaitable[None]], mend: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    await harm()
    try:
        yield
    finally:
        with trio.move_on_after(_MEND_S, shield=True):
            await mend()


@asynccontextmanager
async def _valkey_stopped(fleet: Fleet) -> AsyncIterator[None]:
    fleet.valkey.stop()
    try:
        yield
    finally:
        fleet.valkey.go_on()


@asynccontextmanager
async def _bad_network(fleet: Fleet, *, server: str, harm: Callable[[Proxy], None]) -> AsyncIterator[None]:
    """Every instance's way to a server is harmed."""
    proxies: list[Proxy] = [getattr(wires, server) for wires in fleet.wires.values()]
    for proxy in proxies:
        harm(proxy)
    yield
    for proxy in proxies:
        proxy.mend()


@asynccontextmanager
async def redis_set_back(fleet: Fleet, *, lost_s: float) -> AsyncIterator[None]:
    """Redis is killed, and comes back without what it wrote in its last seconds, as if those had never reached a disk.

    Not among OUTAGES: what answered in those seconds is lost, and batches that were answered are open again.
    """
    fleet.valkey.keep_copy()
    await trio.sleep(lost_s)
    async with _away(fleet.set_valkey_back, fleet.valkey.start):
        yield


def _slow_down(proxy: Proxy) -> None:
    proxy.latency_s = _SLOW_S


OUTAGES: dict[str, Outage] = {
    "redis stopped": _valkey_stopped,
    "redis killed": lambda fleet: _away(fleet.kill_valkey, fleet.valkey.start),
    "redis emptied": lambda fleet: _away(partial(fleet.kill_valkey, forgetting=True), fleet.valkey.start),
    "redis cut": partial(_bad_network, server="redis", harm=Proxy.cut),
    "redis silent": partial(_bad_network, server="redis", harm=Proxy.silence),
    "redis slow": partial(_bad_network, server="redis", harm=_slow_down),
    "postgres stopped": lambda fleet: _away(fleet.postgres.stop, fleet.postgres.start),
    "postgres killed": lambda fleet: _away(fleet.postgres.kill, fleet.postgres.start),
    "postgres locked": lambda fleet: fleet.postgres.locked(),
    "postgres cut": partial(_bad_network, server="postgres", harm=Proxy.cut),
    "postgres silent": partial(_bad_network, server="postgres", harm=Proxy.silence),
}
