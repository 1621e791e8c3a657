"""What `cryptopulse dev` does: everything on one machine, with nothing installed beforehand.

    dev.run(Options(state_folder=Path(".cryptopulse"), port=3000, instances=2, live=False), os.environ)

Returns when somebody asked for the end, and raises DevError when something else ended it.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
from msgspec.structs import replace

from core.environment import read, without_files
from core.migrate import MigrationError, upgrade
from core.settings import SECRETS, Settings, load_settings
from server.auth import issue_token
from server.local import processes, running_postgres, running_valkey
from server.local.banner import Banner
from server.local.lifetimes import Program, Stop, kept_running, programs
from server.local.ports import reachable_at, taken
from server.local.readiness import wait_ready
from server.local.state import Running, StateError, StateFolder
from server.local.upstream import SIMULATE, upstream

DEFAULT_STATE_FOLDER = Path(".cryptopulse")
# -P: a folder called `core` where the command is given must not be taken for ours.
_SERVE = (sys.executable, "-P", "-m", "cryptopulse", "serve")
# Known only when they run; until then something that can be used.
_ITS_OWN = {"REDIS_URL": "redis://-", "DATABASE_URL": "postgresql://-"}
_READY_WITHIN_S = 20
_LEFTOVER_PATIENCE_S = 2.0
_TOKEN_S = 7 * 86_400


class DevError(Exception):
    """Dev could not start, or something that it needs ended; str() says what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    state_folder: Path
    port: int
    instances: int
    live: bool

    @property
    def ports(self) -> range:
        """A port for each instance."""
        return range(self.port, self.port + self.instances)


def run(options: Options, environment: Mapping[str, str]) -> None:
    """Serve until somebody asks for the end; raise DevError if it comes otherwise, SettingsError if it cannot begin."""
    state = StateFolder(options.state_folder)
    stop = Stop()
    try:
        with state.locked():
            # What the user has set comes before what was made up.
            given = {**state.secrets(), **without_files(environment, SECRETS)}
            settings = load_settings({**given, **_ITS_OWN})
            trio.run(_Dev(options, state, given, settings, stop).run)
            state.forget()
    except StateError as error:
        raise DevError(str(error)) from None
    if stop.failure:
        raise DevError(stop.failure)


@dataclass(frozen=True)
class _Dev:
    options: Options
    state: StateFolder
    environment: Mapping[str, str]
    settings: Settings  # of the servers, but for what dev brings
    stop: Stop

    async def run(self) -> None:
        """Run everything until `stop` says that it is time."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.stop.on_signal)
            with self.stop.scope:
                await self._run_everything()
            nursery.cancel_scope.cancel()

    async def _run_everything(self) -> None:
        """Servers, simulator and instances as nested blocks: they end in the opposite order."""
        await self._end_leftovers()
        folder = self.state.path
        async with (
            kept_running(running_valkey(folder / "valkey"), self.stop) as valkey,
            kept_running(running_postgres(folder / "postgres"), self.stop) as postgres,
            upstream(self.environment, self.stop, live=self.options.live) as prices,
        ):
            pids = {"dev": os.getpid(), "valkey": valkey.pid, "postgres": postgres.pid, **prices.pids}
            own = {"REDIS_URL": valkey.url, "DATABASE_URL": postgres.url, **prices.settings}
            running = Running(valkey.url, pids=pids, settings={**_plain(self.environment), **own})
            self.state.record(running)
            await self._ports_are_free()
            await self._migrate(postgres.url)
            await self._run_instances(own, running, prices.told)

    async def _run_instances(self, own: Mapping[str, str], running: Running, prices: str) -> None:
        instances = [_instance(port, {**self.environment, **own}) for port in self.options.ports]
        async with programs(instances, self.stop) as servers:
            running = self._with_servers(running, servers)
            self.state.record(running)
            await self._all_ready(running.urls)
            print(self._banner(running, prices), flush=True)  # noqa: T201 - what the command is for
            await trio.sleep_forever()

    def _with_servers(self, running: Running, servers: Sequence[trio.Process]) -> Running:
        urls = [reachable_at(self.environment.get("HOST"), port) for port in self.options.ports]
        pids = {f"server-{port}": server.pid for port, server in zip(self.options.ports, servers, strict=True)}
        return replace(running, urls=urls, pids={**running.pids, **pids})

    async def _end_leftovers(self) -> None:
        """End the instances and the simulator of a dev that was killed here."""
        left = self.state.recorded()
        async with trio.open_nursery() as nursery:
            for name, pid in left.pids.items() if left else ():
                nursery.start_soon(trio.to_thread.run_sync, _end_leftover, name, pid)

    async def _ports_are_free(self) -> None:
        for port in self.options.ports:
            if taken(self.environment.get("HOST"), port):
                another = self._options_of(self.options.port + 100)
                await self.stop.here_because(
                    f"port {port} is taken: end what listens there, or choose another, such as {shlex.join(another)} "
                    f"(make dev ARGS={shlex.quote(shlex.join(another))})"
                )

    def _options_of(self, port: int) -> list[str]:
        """What the command line asked for, with another port."""
        folder, instances = self.options.state_folder, self.options.instances
        return [
            *(("--state-dir", str(folder)) if folder != DEFAULT_STATE_FOLDER else ()),
            *("--port", str(port)),
            *(("--instances", str(instances)) if instances > 1 else ()),
            *(("--live",) if self.options.live else ()),
        ]

    async def _migrate(self, database_url: str) -> None:
        try:
            await trio.to_thread.run_sync(upgrade, database_url)
        except MigrationError as error:
            await self.stop.here_because(str(error))

    async def _all_ready(self, urls: Sequence[str]) -> None:
        with trio.move_on_after(_READY_WITHIN_S) as limit:
            await wait_ready(urls)
        if limit.cancelled_caught:
            await self.stop.here_because(f"not ready within {_READY_WITHIN_S} s: {' '.join(urls)}")

    def _banner(self, running: Running, prices: str) -> Banner:
        folder = self.options.state_folder
        return Banner(
            urls=running.urls,
            upstream=prices,
            redis_url=running.redis_url,
            state_folder=str(folder.absolute()),
            monitor="make monitor" + ("" if folder == DEFAULT_STATE_FOLDER else f" ARGS='--state-dir {folder}'"),
            token=issue_token(
                self.settings.jwt_secret.get_secret_value(),
                subject="dev",
                username="dev",
                expires_s=_TOKEN_S,
                issuer=self.settings.jwt_issuer,
                audience=self.settings.jwt_audience,
            ),
            window_s=self.settings.batch_window_ms / 1000,
            threshold=self.settings.batch_threshold,
        )


def _end_leftover(name: str, pid: int) -> None:
    # Valkey and Postgres are ended by those who start the next ones.
    _, _, *command = SIMULATE if name == "simulator" else _SERVE
    processes.end(pid, " ".join(command), patience_s=_LEFTOVER_PATIENCE_S)


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings in it that are no secrets."""
    found = read(environment, Settings.model_fields.keys() - SECRETS, ())
    return {name.upper(): value for name, value in found.values.items()}


def _instance(port: int, environment: Mapping[str, str]) -> Program:
    return Program(f"the server on port {port}", _SERVE, {**environment, "PORT": str(port)})
