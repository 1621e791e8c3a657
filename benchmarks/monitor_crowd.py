"""An instance that there is not: it tells monitors of as many coins and events as they are asked to bear.

with crowd(redis_url, rows=5000, events_a_second=200):
    ...
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from core import keys
from core.events import (
    BUCKETS,
    HISTOGRAM_MS,
    VERSION,
    BatchView,
    Bucket,
    BudgetView,
    CallerView,
    CoinView,
    Event,
    Flushed,
    FlushedBatch,
    Message,
    ProcessView,
    Snapshot,
    encode_message,
    unix_ms,
)

_TICK_S = 0.25
_A_MESSAGE = 500  # rows, as real instances bound them


@contextmanager
def crowd(redis_url: str, *, rows: int, events_a_second: int) -> Iterator[None]:
    """So many batches with waiters, spread over as many instances as it takes, for as long as the block."""
    ended = threading.Event()
    thread = threading.Thread(target=_tell, args=(redis_url, rows, events_a_second, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _tell(redis_url: str, rows: int, events_a_second: int, ended: threading.Event) -> None:
    instances = max(1, rows // _A_MESSAGE)
    each = round(events_a_second * _TICK_S / instances)
    number = 0
    with redis.Redis.from_url(redis_url) as client:
        while not ended.wait(_TICK_S):
            number += 1
            for instance in range(instances):
                told = message(instance, number, min(rows, _A_MESSAGE), each)
                client.publish(keys.EVENTS, encode_message(told))


def message(instance: int, number: int, rows: int, events: int) -> Message:
    """What one of them says; every number is another one each time."""
    now_ms = unix_ms()
    coins = [f"coin-{instance * rows + row:05}" for row in range(rows)]
    return Message(
        version=VERSION,
        instance=f"api-{instance}",
        number=number,
        at_ms=now_ms,
        events=[_flushed(coins[nth % len(coins)], now_ms, number) for nth in range(events)],
        missed=0,
        snapshot=_snapshot(coins, now_ms, number),
    )


def _snapshot(coins: list[str], now_ms: int, number: int) -> Snapshot:
    return Snapshot(
        started_at_ms=now_ms - number * 250,
        threshold=3,
        window_ms=5000,
        ride_along=True,
        draining=False,
        requests=number * 10,
        calls=number,
        answered=number * 9,
        failed=0,
        opened=number,
        buckets=[Bucket(50, 45, 0, 2)] * BUCKETS,
        waits=[5] * (len(HISTOGRAM_MS) + 1),
        upstream=[1] * (len(HISTOGRAM_MS) + 1),
        batches=[_batch(coin, nth, number) for nth, coin in enumerate(coins)],
        batches_in_all=len(coins),
        coins=[_coin(coin, number, now_ms) for coin in coins] if number % 4 == 1 else None,
        coins_in_all=len(coins),
        callers=[CallerView(f"user:{nth}", 20, (nth + number) % 20, 30) for nth in range(50)],
        budget=BudgetView(30, 10_000, 1500, 4812, 9700, 19),
        process=ProcessView(len(coins), 1.5, 80_000_000, 4),
    )


def _batch(coin: str, nth: int, number: int) -> BatchView:
    waited_ms = (nth * 37 + number * 250) % 5000
    return BatchView(f"{coin}-{number // 20}", coin, "open", 1 + (nth + number) % 3, 1, waited_ms, 5000 - waited_ms)


def _coin(coin: str, number: int, now_ms: int) -> CoinView:
    return CoinView(coin, [number % 7] * (BUCKETS // 5), "usd", f"{1000 + number}.25", f"{999 + number}.5", now_ms)


def _flushed(coin: str, now_ms: int, number: int) -> Event:
    batches = [FlushedBatch(coin, "window", 3, 5000)]
    return Flushed(now_ms, number, "window", batches, 3, 2.5, 180.0, 3.5, "answered")
