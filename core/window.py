"""One batch's life on one instance that has requests waiting for it.

    wait until full | due | drain ──▶ ripe: the next round of flushes takes it in
        ▲                              │
        └── until another's lease ends ┘   (its result usually comes first, over the feed)

That it is full is said at once, all else by the window's task. Requests only wait; it acts for them, so a client that
leaves harms nobody, and sees to it that each is told when its time is over. It ends when the batch is settled or its
last waiter has left.
"""

from collections.abc import Callable
from heapq import heappop, heappush

import trio

from core.batches import Result
from core.bell import Bell
from core.errors import CryptoPulseError, ResultTimeout
from core.flush_policy import View, next_step
from core.waiters import Waiter


class Window:
    """The waiters of one batch on this instance, and the task that sees to it that they get their result."""

    def __init__(self, view: View, threshold: int, tell_ripe: Callable[[], None]) -> None:
        """`tell_ripe` hears each time that the batch is ripe, and may find that it is not."""
        self.view = view
        self.waiters: set[Waiter] = set()
        self._deadlines: list[Waiter] = []  # a heap; some may have left
        self._threshold = threshold
        self._tell_ripe = tell_ripe
        self._stirred = Bell()

    def __repr__(self) -> str:
        state = "claimed" if self.view.claimed or self.view.flushing else "open"
        return f"<Window {self.view.coin_id} {state} {self.view.size}/{self._threshold}, {len(self.waiters)} here>"

    def join(self, waiter: Waiter, size: int) -> None:
        """Take in one more waiter; `size` counts the batch over all instances."""
        self.waiters.add(waiter)
        heappush(self._deadlines, waiter)
        if self._deadlines[0] is waiter:
            self._stir()
        self.grow(size)

    def leave(self, waiter: Waiter) -> None:
        """Let a waiter go; without any the waiting ends."""
        self.waiters.discard(waiter)
        if not self.waiters:
            self._stir()

    def grow(self, size: int) -> None:
        """Take notice of the batch's size; beyond full, one more changes nothing."""
        is_filled = self.view.size < self._threshold <= size and not self.view.flushing
        self.view.size = max(self.view.size, size)
        if is_filled:
            self._tell_ripe()  # here and now: for three at once each task that must wake first is time that they wait

    def drain(self) -> None:
        """Flush as soon as may be."""
        self.view.draining = True
        self._stir()

    def release(self) -> None:
        """The coin's batch before this one was settled: nobody holds this one back."""
        if not self.view.claimed:
            self.view.held_until = float("-inf")
            self._stir()

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

    def set_flushing(self, *, flushing: bool) -> None:
        """This instance began to flush the batch, or ended."""
        self.view.flushing = flushing
        if not flushing:
            self._stir()

    def settle(self, outcome: Result | CryptoPulseError) -> None:
        """Answer everybody who waits here, and end."""
        waiters, self.waiters = self.waiters, set()  # whoever is answered leaves
        self._stir()
        for waiter in waiters:
            waiter.settle(outcome)

    def is_too_late(self, call_at: float) -> bool:
        """Whether somebody would no longer wait when the next upstream call may be made; none is under way for them."""
        is_claimed = self.view.claimed and trio.current_time() < self.view.held_until
        return not self.view.flushing and not is_claimed and any(waiter.deadline < call_at for waiter in self.waiters)

    def refuse(self, call_at: float, refusal: CryptoPulseError) -> None:
        """Answer those who would no longer wait."""
        if not self.is_too_late(call_at):
            return
        for waiter in [waiter for waiter in self.waiters if waiter.deadline < call_at]:
            self.leave(waiter)
            waiter.settle(refusal)

    async def run(self) -> None:
        """Say each time that the batch is ripe, until it is settled or nobody waits for it here."""
        while self.waiters:
            with trio.CancelScope() as until:
                while self.waiters:
                    until.deadline = min(self._next_step(), self._deadlines[0].deadline)
                    await self._stirred.wait()
            self._time_out()

    def _next_step(self) -> float:
        step = next_step(self.view, trio.current_time(), self._threshold)
        if not isinstance(step, str):
            return step
        self._tell_ripe()
        return float("inf")  # whatever comes of it stirs this window

    def _time_out(self) -> None:
        """Answer those whose deadline has come."""
        now = trio.current_time()
        while self._deadlines and self._deadlines[0].deadline <= now:
            waiter = heappop(self._deadlines)
            self.waiters.discard(waiter)
            waiter.settle(ResultTimeout("No price arrived in time. Try again."))

    def _stir(self) -> None:
        self._stirred.ring()
