"""SIGTERM and SIGINT: the first asks, the second insists."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio


class CutOff(Exception):
    """A second signal ended the process before all requests were answered."""


@asynccontextmanager
async def ended_by_signals(begin_drain: Callable[[], None]) -> AsyncIterator[None]:
    """A block in which the first signal calls `begin_drain`; a second one cancels it and raises CutOff."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_heed, signals, begin_drain)
            yield
            nursery.cancel_scope.cancel()


async def _heed(signals: AsyncIterator[int], begin_drain: Callable[[], None]) -> None:
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger("server")
    first = await anext(signals)
    log.info("draining", signal=signal.Signals(first).name)
    begin_drain()
    second = await anext(signals)
    raise CutOff(f"Ended by a second {signal.Signals(second).name} before all requests were answered.")
