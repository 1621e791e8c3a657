"""One batch's life on one instance that has requests waiting for it.

    wait until full | due | drain ──▶ claim ──▶ flush ──▶ everybody is answered
        ▲                              │
        └── until another's lease ends ┘   (its result usually comes first, over the feed)

Requests only wait; this task acts for them, so a client that leaves harms nobody. It ends when the batch is settled or
its last waiter has left; a flush that has begun is finished all the same, for the waiters of other instances.
"""

from collections.abc import Sequence
from typing import Protocol

import trio

from core.batches import Result, Trigger, View, next_step
from core.coordinator import Claimed, Coordinator, Standing
from core.errors import CryptoPulseError, RedisUnavailable
from core.flusher import Flusher
from core.redis_link import RedisRefused
from core.waiters import Waiter

_ASK_AGAIN_S = 1.0


class Keeper(Protocol):
    """Whoever has the windows, and alone settles them."""

    def note(self, standing: Standing) -> None:
        """Take notice of how a batch stands in Redis."""

    def settle(self, window: "Window", outcome: Result | CryptoPulseError) -> None:
        """Answer everybody who waits in a window."""

    def hear_results(self, results: Sequence[Result]) -> None:
        """Batches were settled."""


class Window:
    """The waiters of one batch on this instance, and the task that gets them their result."""

    def __init__(self, batch_id: str, coin_id: str, view: View, threshold: int) -> None:
        self.batch_id = batch_id
        self.coin_id = coin_id
        self.view = view
        self.waiters: set[Waiter] = set()
        self.flushing = False  # by this instance
        self._threshold = threshold
        self._stirred = trio.Event()
        self._waiting = trio.CancelScope()

    def __repr__(self) -> str:
        state = "claimed" if self.view.claimed else "open"
        return f"<Window {self.coin_id} {state} {self.view.size}/{self._threshold}, {len(self.waiters)} here>"

    def join(self, waiter: Waiter, size: int) -> None:
        """Take in one more waiter; `size` counts the batch over all instances."""
        self.waiters.add(waiter)
        self.grow(size)

    def leave(self, waiter: Waiter) -> None:
        """Let a waiter go; without any the waiting ends."""
        self.waiters.discard(waiter)
        if not self.waiters:
            self._waiting.cancel()

    def grow(self, size: int) -> None:
        """Take notice of the batch's size."""
        self.view.size = max(self.view.size, size)
        if self.view.size >= self._threshold:
            self._stir()

    def drain(self) -> None:
        """Flush as soon as may be."""
        self.view.draining = True
        self._stir()

    def release(self) -> None:
        """The coin's batch before this one was settled: nobody holds this one back."""
        if not self.view.claimed:
            self.view.held_until = float("-inf")
            self._stir()

    def settle(self, outcome: Result | CryptoPulseError) -> None:
        """Answer everybody who waits here, and end."""
        for waiter in self.waiters:
            waiter.settle(outcome)
        self.waiters.clear()
        self._waiting.cancel()

    def hold(self, lease_s: float, *, itself: bool) -> None:
        """Wait for another's lease, on this batch (`itself`) or on the coin's one before it."""
        self.view.held_until = trio.current_time() + lease_s
        self.view.claimed = itself
        self._stir()

    def open(self, size: int) -> None:
        """Nobody has a lease."""
        self.view.held_until = float("-inf")
        self.grow(size)
        self._stir()

    async def run(self, coordinator: Coordinator, flusher: Flusher, keeper: Keeper) -> None:
        """Wait, claim and flush until the batch is settled or nobody waits for it here."""
        while (trigger := await self._wait_until_ripe()) is not None:
            try:
                standings = await coordinator.claim([(self.batch_id, trigger)])
            except RedisRefused as refusal:
                keeper.settle(self, refusal)
            except RedisUnavailable:
                # The keeper looks when Redis is back, or gives everybody up; this is the last resort.
                self.view.held_until = trio.current_time() + _ASK_AGAIN_S
            else:
                for standing in standings:
                    keeper.note(standing)
                if claims := [standing for standing in standings if isinstance(standing, Claimed)]:
                    await self._flush(claims, flusher, keeper)

    async def _flush(self, claims: Sequence[Claimed], flusher: Flusher, keeper: Keeper) -> None:
        self.flushing = True
        keeper.hear_results(await flusher.flush(claims))
        self.flushing = False

    async def _wait_until_ripe(self) -> Trigger | None:
        with trio.CancelScope() as self._waiting:
            while self.waiters:
                step = next_step(self.view, trio.current_time(), self._threshold)
                if isinstance(step, str):
                    return step
                with trio.move_on_at(step):
                    await self._stirred.wait()
                self._stirred = trio.Event()
        return None

    def _stir(self) -> None:
        self._stirred.set()
