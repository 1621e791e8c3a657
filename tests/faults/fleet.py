"""Several instances before one Valkey, one Postgres and one upstream, each on wires of its own.

async with open_fleet(servers, folder, Random(seed)) as fleet:
    await fleet.start("a", "b", "c")
    fleet.ambush = Death(Moment.CLAIMED)
    ... requests to fleet.at("a").port ...
    history = await fleet.history()
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio
from msgspec.structs import replace

from tests.faults.clients import Clients
from tests.faults.history import Bounds, Emptied, History, write
from tests.faults.instance import SECRET, Instance
from tests.faults.moments import Ambush, Moment
from tests.faults.proxy import Forward, Proxy, Taps
from tests.faults.record import Record
from tests.faults.servers import Servers
from tests.faults.upstream import Upstream

# Every request has a user of its own unless a test wants it otherwise, so limits are in nobody's way.
_BOUNDS = Bounds(limit=20)


@dataclass
class Wires:
    """One place's ways to Redis, Postgres and the upstream; they stay while instances come and go."""

    redis: Proxy
    postgres: Proxy
    upstream: Proxy
    environment: Mapping[str, str]  # of an instance that uses them


class Fleet:
    """What there is, and what is written down about it."""

    def __init__(
        self, servers: Servers, folder: Path, random: Random, nursery: trio.Nursery, calls_per_minute: int | None
    ) -> None:
        self.valkey = servers.valkey
        self.postgres = servers.postgres
        self.upstream = Upstream(random)
        self.upstream.config.limit_per_minute = calls_per_minute or 0
        self.bounds = replace(_BOUNDS, calls_per_minute=calls_per_minute)
        self.random = random
        self.record = Record()
        self.clients = Clients(self.at, self.record.requests)
        self.ambush: Ambush | None = None
        self.wires: dict[str, Wires] = {}  # {place: its wires}
        self._folder = folder
        self._nursery = nursery
        self._instances: dict[str, list[Instance]] = {}  # {place: all that ever ran there}

    def at(self, place: str) -> Instance:
        """The instance that clients find at a place: the latest that ever listened there, dead or alive."""
        return next(instance for instance in reversed(self._instances[place]) if instance.port)

    async def start(self, *places: str, **settings: object) -> None:
        """Start an instance at each of these places, and return when all listen; settings stay with a place."""
        async with trio.open_nursery() as nursery:
            for place in places:
                if place not in self.wires:
                    self.wires[place] = await self._open_wires(place, settings)
                nursery.start_soon(self._start_at, place)

    async def restart(self, dead: Instance) -> None:
        """Start another instance where this one was."""
        await self.start(self.place_of(dead))

    def place_of(self, instance: Instance) -> str:
        """Where an instance runs or ran."""
        return next(place for place, those in self._instances.items() if instance in those)

    async def kill_valkey(self, *, forgetting: bool = False) -> None:
        """Kill Valkey; it comes back with its file, or without."""
        await self.valkey.kill()
        if forgetting:
            self.record.emptied.append(Emptied(at=time.monotonic()))
            self.valkey.forget()

    async def set_valkey_back(self) -> None:
        """Kill Valkey; it comes back as its file was when it was copied."""
        await self.valkey.kill()
        self.record.emptied.append(Emptied(at=time.monotonic()))
        self.valkey.set_back()

    async def age_what_the_dead_hold(self) -> None:
        """As if so much time had passed that others take what dead instances took out of the outbox."""
        dead = {end.instance for end in self.record.ends}
        for instance in (one for those in self._instances.values() for one in those if one.name in dead):
            await self.valkey.age_what_is_held_by(instance.process.pid)

    async def history(self) -> History:
        """What happened until now, also left beside the logs; what this says is due in Postgres is waited for."""
        history = self._history()
        while await self.valkey.outbox_length():  # noqa: ASYNC110 - Redis does not tell
            await trio.sleep(0.05)
        rows = await self.postgres.rows()
        # Among the rows may be some of what happened since; the calls that gave them are to be there too.
        history = replace(history, rows=rows, calls=tuple(self.upstream.given))
        self._leave(history)
        return history

    def leave_history(self) -> None:
        """Leave what happened until now, but for what Postgres has, beside the logs."""
        self._leave(self._history())

    def _leave(self, history: History) -> None:
        write(history, self._folder / "history.jsonl")

    def _history(self) -> History:
        record = self.record
        return History(
            bounds=self.bounds,
            requests=tuple(record.requests.values()),
            calls=tuple(self.upstream.given),
            openings=tuple(record.openings),
            claims=tuple(record.claims),
            completions=tuple(record.completions),
            ends=tuple(record.ends),
            stalls=tuple(record.stalls),
            emptied=tuple(record.emptied),
        )

    async def _start_at(self, place: str) -> None:
        those = self._instances.setdefault(place, [])
        name = f"{place}{len(those) + 1}"
        those.append(Instance(name, self._folder / f"{name}.log", self.record, self._meet))
        await those[-1].start(self.wires[place].environment, self._nursery)

    async def _open_wires(self, place: str, settings: Mapping[str, object]) -> Wires:
        upstream = await self._nursery.start(self.upstream.serve)

        def taps(kind: str) -> Taps:
            made: Taps = getattr(self._instances[place][-1].witness, kind)()
            return made

        async def open_wire(kind: str, address: tuple[str, int]) -> tuple[Proxy, int]:
            proxy = Proxy(address, lambda: taps(kind))
            return proxy, await self._nursery.start(proxy.serve)

        redis, redis_port = await open_wire("redis", self.valkey.address)
        postgres, postgres_port = await open_wire("postgres", self.postgres.address)
        simulator, simulator_port = await open_wire("upstream", ("127.0.0.1", int(upstream.rpartition(":")[2])))
        environment = {
            "port": 0,
            "admin_user": "admin",
            "admin_pass": "opensesame",
            "jwt_secret": SECRET,
            "redis_url": f"redis://127.0.0.1:{redis_port}/0",
            "database_url": self.postgres.url_on(postgres_port),
            "coingecko_base_url": f"http://127.0.0.1:{simulator_port}",
            "upstream_calls_per_minute": self.bounds.calls_per_minute or "",
            **settings,
        }
        return Wires(redis, postgres, simulator, {name.upper(): str(value) for name, value in environment.items()})

    async def _meet(self, instance: Instance, moments: set[Moment], chunk: bytes, forward: Forward) -> None:
        if self.ambush is None:
            await forward(chunk)
        else:
            await self.ambush.meet(instance, moments, chunk, forward)


@asynccontextmanager
async def open_fleet(
    servers: Servers, folder: Path, random: Random, *, calls_per_minute: int | None = None
) -> AsyncIterator[Fleet]:
    """A fleet without instances, before empty servers; its end is the end of all its processes.

    With `calls_per_minute` the upstream allows no more, and the instances are told. What happened is left in `folder`
    if the block fails.
    """
    await servers.empty()
    async with trio.open_nursery() as nursery:
        fleet = Fleet(servers, folder, random, nursery, calls_per_minute)
        try:
            yield fleet
        except BaseException:
            fleet.leave_history()
            raise
        finally:
            await fleet.clients.aclose()
        nursery.cancel_scope.cancel()
