"""Waiting for what tells nobody when it happens, in a server of its own process."""

from collections.abc import Callable

import trio


async def until(condition: Callable[[], object]) -> None:
    """Wait until this holds; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - no event of ours is set there
        await trio.sleep(0.005)
