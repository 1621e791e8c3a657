"""Do all streams of one instance get every price, how soon, and at what cost: `python -m benchmarks.streams --help`.

A real instance, Valkey, Postgres, and the simulator. The streams are read by one process, the flushes are brought about
and timed by another: from when Redis has published a price until a client has it.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

import click
import httpx
import msgspec
import trio

from benchmarks.stream_clients import Crowd
from core.batches import Result
from core.events import Event
from core.migrate import upgrade
from core.result_feed import ResultFeed
from core.settings import Settings
from core.streams import tick_id
from server.auth import issue_token
from server.local import running_postgres, running_valkey
from server.local.readiness import wait_ready
from simulator import Simulator, SimulatorConfig

_COINS = ("bitcoin", "ethereum", "solana", "dogecoin")
_STREAMS_A_USER = 10
_READY_WITHIN_S = 30.0
# For the last prices to get through.
_LAST_S = 2.0
_LOOKS = 4  # at the memory, over the run
_MB = 1e6
_TICKS_A_S = os.sysconf("SC_CLK_TCK")
_SERVE = (sys.executable, "-P", "-m", "cryptopulse", "serve")
_CLIENTS = (sys.executable, "-m", "benchmarks.stream_clients")

Told = list[list[tuple[str, float]]]  # to each stream: ids, and when they came


class Options(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    streams: int
    seconds: float
    flushes: float


class Instance:
    """The server, from outside."""

    def __init__(self, url: str, secret: str, pid: int) -> None:
        self.url = url
        self._secret = secret
        self._proc = Path(f"/proc/{pid}")

    def bearer(self, user: int) -> str:
        """A header that lets a user in."""
        token = issue_token(self._secret, subject=f"user-{user}", username="", expires_s=3600)
        return f"Bearer {token}"

    def resident_bytes(self) -> int:
        """How much memory it holds."""
        pages = int((self._proc / "statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """How much it has worked."""
        fields = (self._proc / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_S


class Witness:
    """Hears results as an instance does, and notes when."""

    def __init__(self) -> None:
        self.published: dict[str, tuple[str, float]] = {}  # {id: coin, when}

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled."""
        now = time.monotonic()
        for result in results:
            for price in result.known_prices:
                self.published.setdefault(tick_id(price), (price.coin_id, now))

    async def look(self) -> None:
        """Messages may have been missed; on the local machine they are not."""

    def hear_full(self, batch_id: str, size: int) -> None:
        """Not needed."""

    def hear_claimed(self, batch_ids: Sequence[str], lease_s: float) -> None:
        """Not needed."""

    def hear_next_call(self, in_ms: int, now_ms: int) -> None:
        """Not needed."""

    def hear_watch(self, word: bytes) -> None:
        """Not needed."""

    def tell(self, event: Event) -> None:
        """Not needed."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--streams", type=click.IntRange(1, 5000), default=1000, help="How many clients, each with one coin.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=60, help="How long prices are fetched.")
@click.option("--flushes", type=click.FloatRange(0.1, 50), default=4, help="How many a second, each with every coin.")
def main(*, streams: int, seconds: float, flushes: float) -> None:
    """Measure live prices: one instance, many clients."""
    trio.run(_measure, Options(streams, seconds, flushes))


async def _measure(options: Options) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="cryptopulse-bench-") as folder,
        running_valkey(Path(folder) / "valkey") as valkey,
        running_postgres(Path(folder) / "postgres", durable=False) as postgres,
    ):
        await trio.to_thread.run_sync(upgrade, postgres.url)
        async with trio.open_nursery() as nursery:
            upstream_url = await nursery.start(Simulator(SimulatorConfig()).serve, "127.0.0.1", 0)
            with _serving(_environment(valkey.url, postgres.url, upstream_url)) as instance:
                with trio.fail_after(_READY_WITHIN_S):
                    await wait_ready([instance.url])
                witness = Witness()
                await nursery.start(ResultFeed(valkey.url, witness, witness, witness).run)
                await _run(options, instance, witness)
            nursery.cancel_scope.cancel()


async def _run(options: Options, instance: Instance, witness: Witness) -> None:
    before = instance.resident_bytes()
    async with _reading(options, instance) as (read, ready_s):
        memory = [instance.resident_bytes()]
        cpu_s = instance.cpu_s()
        for _ in range(_LOOKS):
            await _fetch(instance, options.seconds / _LOOKS, options.flushes)
            memory.append(instance.resident_bytes())
        cpu_s = instance.cpu_s() - cpu_s
        await trio.sleep(_LAST_S)
        told = await read()
    click.echo(f"{options.streams} streams, open within {ready_s:.1f} s; {len(witness.published)} prices published")
    click.echo(_verdict(told, witness))
    click.echo(f"memory: {before / _MB:.0f} MB without streams; {', '.join(f'{each / _MB:.1f}' for each in memory)} MB")
    click.echo(f"processor: {cpu_s / options.seconds:.0%} of a core, with the requests that bring prices about")


def _verdict(told: Told, witness: Witness) -> str:
    """Whether each stream was told every price of its coin, once and in order, and how soon."""
    due = {coin_id: [tick for tick, (of, _) in witness.published.items() if of == coin_id] for coin_id in _COINS}
    complete = sum([tick for tick, _ in each] == due[_coin_of(number)] for number, each in enumerate(told))
    waits = sorted(at - witness.published[tick][1] for each in told for tick, at in each)
    p50, p99, most = (waits[min(int(len(waits) * share), len(waits) - 1)] * 1000 for share in (0.5, 0.99, 1))
    return (
        f"told every price of their coin, once and in order: {complete} of {len(told)}\n"
        f"from published to received: p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms, of {len(waits)}"
    )


def _coin_of(number: int) -> str:
    return _COINS[number % len(_COINS)]


async def _fetch(instance: Instance, seconds: float, flushes: float) -> None:
    """Have every coin fetched so many times a second."""
    headers = {"Authorization": instance.bearer(0)}
    async with httpx.AsyncClient(base_url=instance.url, headers=headers, trust_env=False) as client:
        began_at = trio.current_time()
        for number in range(int(seconds * flushes)):
            await trio.sleep_until(began_at + number / flushes)
            (await client.get(f"/v1/prices?ids={','.join(_COINS)}")).raise_for_status()
        await trio.sleep_until(began_at + seconds)


@asynccontextmanager
async def _reading(options: Options, instance: Instance) -> AsyncIterator[tuple["_Read", float]]:
    """The process of the clients, once every stream is open, and how long that took."""
    address = urlsplit(instance.url)
    heads = [
        f"GET /v1/prices/stream?ids={_coin_of(number)} HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: {instance.bearer(number // _STREAMS_A_USER)}\r\n\r\n"
        for number in range(options.streams)
    ]
    crowd = Crowd(address.hostname or "", address.port or 0, heads)
    process = await trio.lowlevel.open_process(_CLIENTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        read = _Read(process)
        began_at = trio.current_time()
        await read.begin(crowd)
        yield read, trio.current_time() - began_at
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


class _Read:
    """What the clients have read, when asked for it."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process

    async def begin(self, crowd: Crowd) -> None:
        """Return when every stream is open."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        assert self._process.stdout is not None  # noqa: S101 - same
        await self._process.stdin.send_all(msgspec.json.encode(crowd) + b"\n")
        said = b""
        while not said.endswith(b"\n"):  # where Python does not buffer, a line and its end come apart
            part = await self._process.stdout.receive_some()
            if not part:
                raise click.ClickException("the streams could not be opened")
            said += part

    async def __call__(self) -> Told:
        """End the reading."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        assert self._process.stdout is not None  # noqa: S101 - same
        await self._process.stdin.aclose()
        text = b"".join([part async for part in self._process.stdout])
        return msgspec.json.decode(text, type=Told)


def _environment(redis_url: str, database_url: str, upstream_url: str) -> dict[str, str]:
    theirs = {name.upper() for name in Settings.model_fields}
    ours = {name: value for name, value in os.environ.items() if name not in theirs}
    return ours | {
        "PORT": str(_free_port()),
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "COINGECKO_BASE_URL": upstream_url,
        "JWT_SECRET": token_hex(32),
        "ADMIN_USER": "admin",
        "ADMIN_PASS": token_hex(16),
        "LOG_LEVEL": "warning",
        "BATCH_THRESHOLD": "1",
        "THROTTLE_GLOBAL_LIMIT": "1000000",
        "MAX_STREAMS_PER_USER": str(_STREAMS_A_USER),
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _serving(environment: dict[str, str]) -> Iterator[Instance]:
    process = subprocess.Popen(_SERVE, env=environment)  # noqa: S603 - ourselves
    try:
        yield Instance(f"http://127.0.0.1:{environment['PORT']}", environment["JWT_SECRET"], process.pid)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
