"""Servers under test and all that they lean on, each a process, as long as a block; as shipped but for what is said.

    with ground(folder) as base, running(base, OURS, instances=2, latency_ms=50) as service:
        service.addresses, service.cpu_s(), service.calls()

Each has a Redis and an upstream of its own, and a database of its own in the one Postgres. Everything is new and empty,
on 127.0.0.1, and gone afterwards.
"""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import msgspec

from benchmarks import processes
from benchmarks.contestants import Contestant
from benchmarks.cores import OTHERS, SERVERS, on_core
from benchmarks.redis_use import RedisUse, counted
from benchmarks.wire import Address
from core.settings import Settings
from server.auth import issue_token
from server.local import LocalPostgres, LocalValkey, running_postgres, running_valkey
from simulator import Call

_READY_WITHIN_S = 30.0
_TOKEN_S = 3600
_A_BATCH = 3
_END_WITHIN_S = 12
_UPSTREAM = (sys.executable, "-P", "-m", "benchmarks.upstream")
_SIMULATOR = (sys.executable, "-P", "-m", "simulator", "--port", "0")
_REPOSITORY = Path(__file__).parents[1]


class NotReady(Exception):
    """A server did not answer in time; str() says which, and where its log is."""


class Ground(msgspec.Struct, frozen=True):
    """What all share."""

    folder: Path
    postgres: LocalPostgres


class Service(msgspec.Struct, frozen=True):
    """Some instances of one contestant, and what they lean on."""

    contestant: Contestant
    addresses: Sequence[Address]
    upstream_url: str
    secret: str
    valkey: LocalValkey
    pids: Sequence[int]

    @property
    def urls(self) -> list[str]:
        """One for each instance."""
        return [f"http://{host}:{port}" for host, port in self.addresses]

    @property
    def upstream_address(self) -> Address:
        """Where the upstream listens."""
        parts = urlsplit(self.upstream_url)
        return str(parts.hostname), parts.port or 0

    def tokens(self, users: int) -> list[str]:
        """A token for each of so many users."""
        names = (f"user-{number}" for number in range(users))
        return [issue_token(self.secret, subject=name, username=name, expires_s=_TOKEN_S) for name in names]

    def cpu_s(self) -> float:
        """What the instances have used of the processors."""
        return processes.cpu_s(self.pids)

    def rss_bytes(self) -> int:
        """What the instances hold in memory."""
        return processes.rss_bytes(self.pids)

    def redis_use(self) -> RedisUse:
        """What was asked of Redis."""
        return counted(self.valkey.port)

    def calls(self) -> int:
        """How many the small upstream has had."""
        return int(httpx.get(f"{self.upstream_url}/__calls", trust_env=False).content)

    def recorded_calls(self) -> list[Call]:
        """Every call that the simulator has had."""
        answer = httpx.get(f"{self.upstream_url}/__calls", trust_env=False)
        return msgspec.json.decode(answer.content, type=list[Call])


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what the user may have set for a service of their own."""
    theirs = {name.upper() for name in Settings.model_fields}
    made_up = {"JWT_SECRET": secrets.token_hex(32), "ADMIN_USER": "admin", "ADMIN_PASS": secrets.token_hex(16)}
    return {name: value for name, value in os.environ.items() if name not in theirs} | made_up | dict(settings)


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """What all share, for as long as the block."""
    with running_postgres(folder / "postgres", durable=False) as postgres:
        yield Ground(folder, postgres)


@contextmanager
def running(
    base: Ground,
    contestant: Contestant,
    *,
    instances: int = 1,
    latency_ms: float = 0,
    settings: Mapping[str, str] | None = None,
    simulator: Mapping[str, object] | None = None,
) -> Iterator[Service]:
    """Instances that answer; the upstream is our simulator where it is told what to do, else a small one."""
    name = f"{contestant.name}_{secrets.token_hex(4)}"
    environment = clean_environment(settings or {})
    with ExitStack() as stack:
        with on_core(OTHERS):
            valkey = stack.enter_context(running_valkey(base.folder / name))
            upstream_url = stack.enter_context(_upstream(latency_ms, simulator))
        environment |= {
            "REDIS_URL": valkey.url,
            "DATABASE_URL": asyncio.run(_new_database(base.postgres.url, name)),
            "COINGECKO_BASE_URL": upstream_url,
        }
        log = base.folder / f"{name}.log"
        ports = _free_ports(instances)
        with on_core(SERVERS):
            pids = [stack.enter_context(_server(contestant, environment, port, log, base.folder)) for port in ports]
        addresses = [("127.0.0.1", port) for port in ports]
        service = Service(contestant, addresses, upstream_url, environment["JWT_SECRET"], valkey, pids)
        _wait_ready(service, log)
        yield service


@contextmanager
def _upstream(latency_ms: float, simulator: Mapping[str, object] | None) -> Iterator[str]:
    command = [*(_UPSTREAM if simulator is None else _SIMULATOR), "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_REPOSITORY) as process:  # noqa: S603 - ours
        try:
            said = process.stdout.readline() if process.stdout else b""
            url = said.decode().split()[-1]
            if simulator:
                httpx.post(f"{url}/__config", json=dict(simulator), trust_env=False).raise_for_status()
            yield url
        finally:
            process.terminate()


async def _new_database(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    return urlsplit(url)._replace(path=f"/{name}").geturl()


@contextmanager
def _server(
    contestant: Contestant, environment: Mapping[str, str], port: int, log: Path, folder: Path
) -> Iterator[int]:
    with log.open("ab") as said:
        if contestant.prepare:
            subprocess.run(contestant.prepare, env=environment, check=True, stdout=said, stderr=said)  # noqa: S603 - ours
        process = subprocess.Popen(  # noqa: S603 - what the user names
            contestant.command, env={**environment, "PORT": str(port)}, stdout=said, stderr=said, cwd=folder
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _wait_ready(service: Service, log: Path) -> None:
    """Every instance lets connections in, and answers."""
    until_s = time.monotonic() + _READY_WITHIN_S
    for address in service.addresses:
        while not _lets_in(address):
            if time.monotonic() > until_s:
                raise NotReady(f"{service.contestant.name} did not come up; the end of its log:\n{_end_of(log)}")
            time.sleep(0.05)
    statuses = asyncio.run(_asked_at_once(service))
    if statuses != {httpx.codes.OK}:
        raise NotReady(f"{service.contestant.name} answered {statuses}; the end of its log:\n{_end_of(log)}")


async def _asked_at_once(service: Service) -> set[int]:
    """As many requests for one coin to each instance as make a full batch; the statuses of the answers."""
    # Somebody else: the users of a benchmark have all of their limit left.
    token = issue_token(service.secret, subject="first", username="first", expires_s=_TOKEN_S)
    headers = {"Authorization": f"Bearer {token}"}
    crowd = [f"{url}/v1/price/bitcoin" for url in service.urls for _ in range(_A_BATCH)]
    async with httpx.AsyncClient(headers=headers, timeout=_READY_WITHIN_S, trust_env=False) as client:
        return {answer.status_code for answer in await asyncio.gather(*map(client.get, crowd))}


def _lets_in(address: Address) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]
