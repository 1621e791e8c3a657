"""One `cryptopulse serve` as a process, and what can be done to it from outside.

instance = Instance("a1", log, record, meet)
await instance.start(environment, nursery)
instance.kill()
"""

import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import trio

from tests.faults.history import End, Stall
from tests.faults.moments import Moment
from tests.faults.proxy import Forward
from tests.faults.record import Record
from tests.faults.witness import Witness
from tests.waiting import until

SECRET = "a secret of thirty-two bytes or more"
PLACES = ("a", "b", "c")

Meet = Callable[["Instance", set[Moment], bytes, Forward], Awaitable[None]]


class _Listening(msgspec.Struct, tag_field="event", tag="listening"):
    """The line of the log that says where."""

    url: str


class Instance:
    """A process of ours."""

    def __init__(self, name: str, log: Path, record: Record, meet: Meet) -> None:
        self.name = name
        self.port = 0
        self.log = log
        self.witness = Witness(name, record, partial(self._pass, meet))
        self._record = record
        self._process: trio.Process | None = None
        self._isolated = False
        self._stopped_at = 0.0

    def __repr__(self) -> str:
        return f"<Instance {self.name} on port {self.port}>"

    @property
    def process(self) -> trio.Process:
        """Its process."""
        assert self._process is not None, "never started"
        return self._process

    async def start(self, environment: Mapping[str, str], nursery: trio.Nursery) -> None:
        """Start it, to be killed with the nursery, and return when it listens."""
        with self.log.open("wb") as log:
            run = partial(
                trio.run_process,
                [sys.executable, "-P", "-m", "cryptopulse", "serve"],
                env={**_clean_environment(), **environment},
                stdout=log,
                stderr=log,
                check=False,
                deliver_cancel=_kill_at_once,
            )
            self._process = await nursery.start(run)
        await until(lambda: b'"listening"' in self.log.read_bytes() or self.process.poll() is not None)
        assert self.process.poll() is None, f"{self.name} ended at once: {self.log.read_text()[-2000:]}"
        line = next(line for line in self.log.read_bytes().splitlines() if b'"listening"' in line)
        self.port = int(msgspec.json.decode(line, type=_Listening).url.rpartition(":")[2])

    def isolate(self) -> None:
        """Let nothing more come or go, but over connections of its clients."""
        self._isolated = True

    def kill(self) -> None:
        """Kill it; nothing of it comes or goes from then on."""
        self.isolate()
        self.process.kill()
        self._record.ends.append(End(at=time.monotonic(), instance=self.name, how="killed"))

    async def terminate(self) -> int:
        """Ask it to end as an operator would, and return its exit status when it has."""
        self._record.ends.append(End(at=time.monotonic(), instance=self.name, how="terminated"))
        self.process.terminate()
        return await self.process.wait()

    def stop(self) -> None:
        """Freeze it."""
        self._stopped_at = time.monotonic()
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on where it was frozen."""
        self.process.send_signal(signal.SIGCONT)
        self._record.stalls.append(Stall(instance=self.name, began_at=self._stopped_at, ended_at=time.monotonic()))

    async def _pass(self, meet: Meet, moments: set[Moment], chunk: bytes, forward: Forward) -> None:
        if not self._isolated:
            await meet(self, moments, chunk, forward)


def _clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "PYTHONPATH"}}


async def _kill_at_once(process: trio.Process) -> None:
    process.kill()
    await process.wait()
