"""Children that live as long as a block, and whose own end ends everything.

    with stop.scope:
        async with kept_running(running_valkey(folder), stop) as valkey:
            async with programs([Program("the simulator", command, environment)], stop):
                await trio.sleep_forever()

Blocks end from the inside out, so the order of the shutdown is the indentation.
"""

import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import trio

from server.local.service import LocalService, LocalServiceError

_Service = TypeVar("_Service", bound=LocalService)

# An instance may drain for about 10 s.
_PATIENCE_S = 12


class Stop:
    """When everything ends, and why: `failure` is None when somebody asked for it."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.failure: str | None = None

    def because(self, failure: str) -> None:
        """End everything, for a reason that the user is told; the first reason counts."""
        if not self.scope.cancel_called:
            self.failure = failure
        self.scope.cancel()

    async def here_because(self, failure: str) -> NoReturn:
        """End everything, this task too: raises Cancelled."""
        self.because(failure)
        await trio.sleep_forever()

    async def on_signal(self) -> NoReturn:
        """End everything at the first Ctrl-C, TERM or closed terminal; later ones change nothing."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            while True:
                await anext(signals)
                self.scope.cancel()


@dataclass(frozen=True)
class Program:
    """A program of ours, and what the user calls it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    says_when_ready: bool = False


@asynccontextmanager
async def kept_running(manager: AbstractContextManager[_Service], stop: Stop) -> AsyncGenerator[_Service]:
    """A blocking server, started and stopped in a thread, so that a signal is heard meanwhile."""
    try:
        service = await trio.to_thread.run_sync(manager.__enter__)
    except (LocalServiceError, OSError, subprocess.SubprocessError) as error:
        await stop.here_because(str(error))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_service, service, stop)
            yield service
            nursery.cancel_scope.cancel()
    finally:
        # The manager stops its server within a deadline of its own.
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(manager.__exit__, None, None, None)


@asynccontextmanager
async def programs(those: Sequence[Program], stop: Stop) -> AsyncGenerator[Sequence[trio.Process]]:
    """Child processes; at the end all are asked at once, and killed if they take more than 12 s."""
    started: list[trio.Process] = []
    try:
        for program in those:
            started.append(await _start(program))  # noqa: PERF401 - should one fail, those before it are known
        async with trio.open_nursery() as nursery:
            for program, process in zip(those, started, strict=True):
                nursery.start_soon(_watch, program, process, stop)
            yield started
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for process in started:
                    nursery.start_soon(_end, process)


async def _start(program: Program) -> trio.Process:
    return await trio.lowlevel.open_process(
        list(program.command),
        env=program.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if program.says_when_ready else None,
        start_new_session=True,  # Ctrl-C in a terminal is for us; we end things in order
    )


async def _watch(program: Program, process: trio.Process, stop: Stop) -> None:
    status = await process.wait()
    stop.because(f"{program.name} ended by itself ({_told(status)}); what it said stands above")


async def _watch_service(service: LocalService, stop: Stop) -> None:
    status = await trio.to_thread.run_sync(service.wait, abandon_on_cancel=True)
    stop.because(f"{service.name} ended by itself ({_told(status)}); see the end of {service.log}")


def _told(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


async def _end(process: trio.Process) -> None:
    process.terminate()
    process.send_signal(signal.SIGCONT)  # a stopped process would not hear it
    with trio.move_on_after(_PATIENCE_S):
        await process.wait()
    process.kill()
    await process.wait()
    if process.stdout:
        await process.stdout.aclose()
