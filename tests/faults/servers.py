"""The real Valkey and Postgres that instances share, with what can happen to them. Nothing here blocks the loop."""

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import redis
import trio

from core import keys
from core.outbox_stream import GROUP, RECLAIM_IDLE_MS
from core.prices import iso_ms
from server.local import LocalPostgres, LocalValkey
from tests.faults.history import Row

_ROWS = "SELECT batch_id, coin_id, vs_currency, price, fetched_at FROM prices"


class Valkey:
    """A Valkey that can be broken; its port and, unless it is emptied, its file survive everything."""

    def __init__(self, server: LocalValkey, folder: Path) -> None:
        self._server = server
        self._file, self._copy = folder / "appendonlydir", folder / "copy"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self._server.port

    def stop(self) -> None:
        """Freeze it."""
        os.kill(self._server.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was frozen."""
        os.kill(self._server.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """Kill it, and return when it is gone."""
        os.kill(self._server.pid, signal.SIGKILL)
        await trio.to_thread.run_sync(self._server.wait)

    async def start(self) -> None:
        """Start it with the file it had."""
        await trio.to_thread.run_sync(self._server.start)

    def forget(self) -> None:
        """Remove the file of one that is down."""
        shutil.rmtree(self._file)

    async def empty(self) -> None:
        """Remove everything from one that runs."""
        await trio.to_thread.run_sync(self._flush)

    async def outbox_length(self) -> int:
        """How many prices Postgres does not have yet."""
        return await trio.to_thread.run_sync(self._outbox_length)

    async def month_calls(self) -> int:
        """How many upstream calls it has counted in this month."""
        return await trio.to_thread.run_sync(self._month_calls)

    def keep_copy(self) -> None:
        """Copy the file as it is now, while it is being written."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._file, self._copy)

    def set_back(self) -> None:
        """Give one that is down the copy for its file: its last writes are lost."""
        self.forget()
        shutil.copytree(self._copy, self._file)

    async def forget_budget(self) -> None:
        """Forget when the next upstream call may be made, as if that time had come."""
        await trio.to_thread.run_sync(self._forget_budget)

    async def age_what_is_held_by(self, pid: int) -> None:
        """Make what a process took out of the outbox so old that others take it."""
        await trio.to_thread.run_sync(self._age, pid)

    def _flush(self) -> None:
        with self._client() as client:
            client.flushall()

    def _outbox_length(self) -> int:
        with self._client() as client:
            return int(client.xlen(keys.OUTBOX))

    def _month_calls(self) -> int:
        with self._client() as client:
            return int(client.hget(keys.BUDGET, "calls") or 0)

    def _forget_budget(self) -> None:
        with self._client() as client:
            client.delete(keys.BUDGET)

    def _age(self, pid: int) -> None:
        with self._client() as client:
            pending = client.xpending_range(keys.OUTBOX, GROUP, "-", "+", 1000)
            for entry in pending:
                consumer = entry["consumer"].decode()
                if f"-{pid}-" in consumer:
                    ids = [entry["message_id"]]
                    client.xclaim(keys.OUTBOX, GROUP, consumer, 0, ids, idle=RECLAIM_IDLE_MS, justid=True)

    def _client(self) -> "redis.Redis":
        return redis.Redis.from_url(self._server.url)


class Postgres:
    """A Postgres that can be broken."""

    def __init__(self, server: LocalPostgres) -> None:
        self._server = server

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self._server.port

    def url_on(self, port: int) -> str:
        """How to reach it by way of another port, in plain text."""
        return self._server.url.replace(f":{self._server.port}/", f":{port}/") + "?sslmode=disable"

    async def stop(self) -> None:
        """Shut it down in order."""
        await trio.to_thread.run_sync(self._server.stop)

    async def kill(self) -> None:
        """Kill its first process; the others follow by themselves."""
        os.kill(self._server.pid, signal.SIGKILL)
        await trio.to_thread.run_sync(self._server.wait)

    async def start(self) -> None:
        """Start it with the files it had."""
        await trio.to_thread.run_sync(self._server.start)

    async def rows(self) -> tuple[Row, ...]:
        """Every kept price."""
        return tuple(
            Row(
                batch_id=row["batch_id"].hex,
                coin=row["coin_id"],
                currency=row["vs_currency"],
                price=row["price"],
                fetched_at=iso_ms(row["fetched_at"]),
            )
            for row in await self._run(_ROWS)
        )

    async def month_calls(self) -> int:
        """How many upstream calls it knows of, in whatever month."""
        return sum([row["calls"] for row in await self._run("SELECT calls FROM upstream_calls")])

    async def empty(self) -> None:
        """Remove every price, and every count of upstream calls."""
        await self._run("TRUNCATE prices, upstream_calls")

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """A block in which nobody can write a price, nor read one."""
        held, release = trio.Event(), threading.Event()
        token = trio.lowlevel.current_trio_token()

        async def hold() -> None:
            connection = await asyncpg.connect(self._server.url)
            try:
                async with connection.transaction():
                    await connection.execute("LOCK TABLE prices IN ACCESS EXCLUSIVE MODE")
                    trio.from_thread.run_sync(held.set, trio_token=token)
                    await asyncio.to_thread(release.wait)
            finally:
                connection.terminate()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, _run_in_plain_loop, hold)
            try:
                await held.wait()
                yield
            finally:
                release.set()

    async def _run(self, statement: str) -> list[asyncpg.Record]:
        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self._server.url)
            try:
                return await connection.fetch(statement)
            finally:
                connection.terminate()

        answer: list[asyncpg.Record] = await trio.to_thread.run_sync(_run_in_plain_loop, run)
        return answer


@dataclass(frozen=True)
class Servers:
    """Both."""

    valkey: Valkey
    postgres: Postgres

    async def empty(self) -> None:
        """Remove what others left there."""
        await self.valkey.empty()
        await self.postgres.empty()


def _run_in_plain_loop(main: Any) -> Any:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())
