"""The real service, all of it, for as long as a block: Valkey, Postgres, the simulator, instances, each a process.

    async with running_service(folder, instances=2, simulator={"latency_ms": 100}, settings={}, stop=stop) as service:
        await replay(trace, service.urls, service.tokens(40))
        await service.upstream_calls()

Everything is new and empty, on 127.0.0.1, and gone afterwards.
"""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import trio

from core.settings import Settings
from server.auth import issue_token
from server.local import running_postgres, running_valkey
from server.local.lifetimes import Program, Stop, kept_running, programs
from server.local.readiness import wait_ready
from server.local.upstream import upstream
from simulator import Call

_CRYPTOPULSE = (sys.executable, "-P", "-m", "cryptopulse")
_READY_WITHIN_S = 30
_TOKEN_S = 3600
# A line a request in the terminal would drown the table.
_QUIET = {"LOG_LEVEL": "warning"}


class Service(msgspec.Struct, frozen=True):
    """Where it all is."""

    urls: Sequence[str]
    simulator_url: str
    jwt_secret: str

    def tokens(self, users: int) -> list[str]:
        """A token for each of so many users."""
        names = (f"user-{number}" for number in range(users))
        return [issue_token(self.jwt_secret, subject=name, username=name, expires_s=_TOKEN_S) for name in names]

    async def upstream_calls(self) -> list[Call]:
        """Every call that the simulator got, from its own record."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.simulator_url}/__calls")
        return msgspec.json.decode(answer.content, type=list[Call])


@asynccontextmanager
async def running_service(
    folder: Path, *, instances: int, simulator: Mapping[str, object], settings: Mapping[str, str], stop: Stop
) -> AsyncGenerator[Service]:
    """Start everything, all as shipped but for `settings` and what the `simulator` is told.

    `stop` is told should any of it end by itself.
    """
    environment = _environment(settings)
    async with (
        kept_running(running_valkey(folder / "valkey"), stop) as valkey,
        kept_running(running_postgres(folder / "postgres", durable=False), stop) as postgres,
        upstream(live=False, environment=environment, stop=stop) as prices,
    ):
        simulator_url = prices.settings["COINGECKO_BASE_URL"]
        await _configure(simulator_url, simulator)
        environment |= {"REDIS_URL": valkey.url, "DATABASE_URL": postgres.url, **prices.settings}
        await _migrate(environment, stop)
        ports = _free_ports(instances)
        async with programs([_instance(port, environment) for port in ports], stop):
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            await _all_ready(urls, stop)
            yield Service(urls, simulator_url, environment["JWT_SECRET"])


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what the user may have set for a service of their own."""
    theirs = {name.upper() for name in Settings.model_fields}
    made_up = {"JWT_SECRET": secrets.token_hex(32), "ADMIN_USER": "admin", "ADMIN_PASS": secrets.token_hex(16)}
    return {name: value for name, value in os.environ.items() if name not in theirs} | made_up | _QUIET | dict(settings)


async def _configure(simulator_url: str, config: Mapping[str, object]) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        (await client.post(f"{simulator_url}/__config", json=config)).raise_for_status()


async def _migrate(environment: Mapping[str, str], stop: Stop) -> None:
    try:
        await trio.run_process([*_CRYPTOPULSE, "migrate"], env=environment)
    except subprocess.CalledProcessError:
        await stop.here_because("the database could not be migrated; why stands above")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _instance(port: int, environment: Mapping[str, str]) -> Program:
    return Program(f"the server on port {port}", (*_CRYPTOPULSE, "serve"), {**environment, "PORT": str(port)})


async def _all_ready(urls: Sequence[str], stop: Stop) -> None:
    with trio.move_on_after(_READY_WITHIN_S) as limit:
        await wait_ready(urls)
    if limit.cancelled_caught:
        await stop.here_because(f"not ready within {_READY_WITHIN_S} s: {' '.join(urls)}")
