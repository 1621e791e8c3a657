"""Makes the recording that ships: `python -m benchmarks.demo_recording monitor/demo.jsonl.gz`.

Two real instances, a minute of requests for forty coins, a budget, one user over its limit; one instance is killed in
the midst of it and started again later.
"""

import asyncio
import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import click
import httpx
import trio

from benchmarks.monitor_stage import Stage, running_stage
from benchmarks.replay import replay
from benchmarks.trace import KNOWN_COINS, Traffic, make_trace
from monitor.recording import RecordedSource, Recorder
from monitor.source import RedisSource
from simulator.coins import COINS

_TRAFFIC = Traffic(rate=40, seconds=60, coins=40, skew=1.0, seed=5)
_GREEDY = Traffic(rate=2, seconds=30, coins=3, skew=0, seed=6)  # of one user, who is soon over the limit
_KILL_AT_S, _START_AT_S = 25, 35
_ANSWERED_AFTER_S = 5
_PRICES_MOVE_EVERY_S = 3
_USERS = 200
_SETTINGS = {"UPSTREAM_CALLS_PER_MINUTE": "30", "UPSTREAM_CALLS_PER_MONTH": "1000000"}


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def main(path: Path) -> None:
    """Record a minute of two instances under load, with a crash in it."""
    path.unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="cryptopulse-demo-") as folder,
        running_stage(Path(folder), _SETTINGS, latency_ms=180) as stage,
    ):
        stage.start()
        stage.start()
        with _recorded(stage, path):
            trio.run(_show, stage)
    click.echo(f"{path}: {path.stat().st_size / 1000:.0f} kB")


async def _show(stage: Stage) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_move_prices, stage)
        await trio.sleep(1)
        await _send(stage)
        await trio.sleep(_ANSWERED_AFTER_S)
        nursery.cancel_scope.cancel()


async def _send(stage: Stage) -> None:
    greedy, *others = stage.tokens(_USERS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, _crash, stage)
        nursery.start_soon(replay, make_trace(_GREEDY), stage.urls[:1], [greedy])
        await replay(make_trace(_TRAFFIC), stage.urls, others)


async def _move_prices(stage: Stage) -> None:
    """As CoinGecko rounds them; the simulator's own have very many digits, and move once a minute."""
    chance = random.Random(7)
    moved = dict.fromkeys(KNOWN_COINS, Decimal(1))
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            for coin_id in moved:
                moved[coin_id] *= 1 + Decimal(chance.randint(-20, 20)) / 10_000 * COINS[coin_id].moves
            prices = {coin_id: {"usd": _rounded(COINS[coin_id].usd * part)} for coin_id, part in moved.items()}
            (await client.post(f"{stage.simulator_url}/__config", json={"prices": prices})).raise_for_status()
            await trio.sleep(_PRICES_MOVE_EVERY_S)


def _rounded(price: Decimal) -> str:
    """To seven digits, and never as 1e-7."""
    return f"{Decimal(f'{price:.7g}'):f}"


def _crash(stage: Stage) -> None:
    pause = threading.Event()
    pause.wait(_KILL_AT_S)
    stage.kill(1)
    pause.wait(_START_AT_S - _KILL_AT_S)
    stage.start_again(1)


@contextmanager
def _recorded(stage: Stage, path: Path) -> Iterator[None]:
    """All that a monitor hears, written down; in a thread, for it is asyncio's."""
    source = RecordedSource(RedisSource(stage.redis_url), Recorder(path))
    loop = asyncio.new_event_loop()
    listening = loop.create_task(source.listen(lambda _: None))
    thread = threading.Thread(target=_run_until_cancelled, args=(loop, listening))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(listening.cancel)
        thread.join()
        loop.close()


def _run_until_cancelled(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    loop.run_until_complete(asyncio.wait([task]))


if __name__ == "__main__":
    main()
