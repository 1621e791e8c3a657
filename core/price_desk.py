"""The front door: a request for prices is admitted here, waits, and is answered.

with await desk.admit([Wanted("bitcoin", ("usd",))], caller="user:ann") as admitted:
    await admitted.waiters[0].settled()
    quote = admitted.waiters[0].quote("usd")
"""

from collections.abc import Sequence
from typing import Self

import trio

from core.admissions import Absent, Admission, Admissions, Fresh, Joined, Refused, Unknown
from core.batches import Wanted, unknown_coin
from core.callers import Callers
from core.coordinator import Coordinator
from core.errors import CryptoPulseError, NotAtHand, ShuttingDown, TooBusy, over_budget
from core.events import Draining, unix_ms
from core.freshness import FETCH, AtHand, Freshness
from core.limits import Charge, OverLimit
from core.settings import Settings
from core.tally import Tally
from core.waiters import Waiter
from core.watch import Broadcast
from core.windows import Windows


class Admitted:
    """A request that was let in, to be entered at once: leaving its block gives the wait up."""

    __slots__ = ("_desk", "charge", "waiters")

    def __init__(self, desk: "PriceDesk", charge: Charge, waiters: list[Waiter]) -> None:
        self._desk = desk
        self.charge = charge  # as it stands; a request that was refused for every coin cost nothing
        self.waiters = waiters  # one for each coin, in the order asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._desk.let_go(self.waiters)


class PriceDesk:
    """Admits requests, counts them, and hands them to their windows."""

    def __init__(
        self,
        settings: Settings,
        coordinator: Coordinator,
        windows: Windows,
        callers: Callers,
        tally: Tally,
        broadcast: Broadcast,
    ) -> None:
        self._settings = settings
        self._coordinator = coordinator
        self._windows = windows
        self._callers = callers
        self._tally = tally
        self._broadcast = broadcast
        self.is_draining = False
        self._empty = trio.Event()
        self._inside = 0  # requests being admitted, or waiting

    @property
    def waiting(self) -> int:
        """How many requests wait in windows now."""
        return sum(len(window.waiters) for window in self._windows)

    async def admit(self, wanted: Sequence[Wanted], *, caller: str, freshness: Freshness = FETCH) -> Admitted:
        """Charge the caller one unit for each started 50 coins, and join the coins' open batches.

        Raises TooBusy, OverLimit, OutboxFull, RedisUnavailable, or ShuttingDown. None of them charges the caller, but
        for a Redis that went away, or took too long, after it had done so.
        """
        if self.is_draining:
            raise ShuttingDown
        if self._inside + len(wanted) > self._settings.max_waiting:
            raise TooBusy
        self._inside += len(wanted)
        deadline = trio.current_time() + self._settings.batch_result_timeout_ms / 1000
        try:
            admissions = await self._admissions(caller, wanted, freshness)
        except BaseException:
            self._leave(len(wanted))
            raise
        coins = zip(wanted, admissions.of_coins, strict=True)
        return Admitted(
            self, admissions.charge, [self._let_in(coin, admission, deadline, freshness) for coin, admission in coins]
        )

    def let_go(self, waiters: Sequence[Waiter]) -> None:
        """Give waits up that still go on, and count how all of them ended."""
        now = trio.current_time()
        for waiter in waiters:
            self._windows.leave(waiter)
            if waiter.is_answered:
                self._tally.answered(now, waiter.waited_s)
            else:
                self._tally.failed(now)
        self._leave(len(waiters))

    def _let_in(self, coin: Wanted, admission: Admission, deadline: float, freshness: Freshness) -> Waiter:
        if isinstance(admission, Joined):
            stale_if_error_s = freshness.stale_if_error_s or 0
            waiter = Waiter(coin.coin_id, deadline, admission.batch_id, admission.at_hand, stale_if_error_s)
            self._windows.join(waiter, coin.coin_id, admission)
        else:
            waiter = Waiter(coin.coin_id, deadline)
            waiter.settle(self._outcome(coin, admission))
        return waiter

    def _outcome(self, coin: Wanted, admission: Fresh | Unknown | Absent | Refused) -> AtHand | CryptoPulseError:
        """What a request comes to that joined no batch."""
        match admission:
            case Fresh(prices):
                return prices
            case Unknown():
                return unknown_coin(coin.coin_id).as_error()
            case Absent():
                return NotAtHand("No price is at hand that is fresh enough. Allow a fetch, or an older one.")
            case Refused(call_in_ms):
                return over_budget(call_in_ms / 1000, self._settings.patience_s)

    def drain(self) -> None:
        """Flush every window now, and refuse new requests."""
        self.is_draining = True
        self._broadcast.tell(Draining(unix_ms()))
        self._windows.drain()
        self._tell_if_empty()

    async def wait_empty(self) -> None:
        """Wait until, after a drain began, nobody waits here any more."""
        await self._empty.wait()

    def _leave(self, coins: int) -> None:
        self._inside -= coins
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self.is_draining and not self._inside:
            self._empty.set()

    async def _admissions(self, caller: str, wanted: Sequence[Wanted], freshness: Freshness) -> Admissions:
        try:
            admissions = await self._coordinator.admit(caller, wanted, freshness)
        except OverLimit as refusal:
            self._callers.note_refusal(refusal)
            raise
        now = trio.current_time()
        for coin in wanted:
            self._tally.requested(coin.coin_id, now)
        self._callers.note(admissions.charge)
        return admissions
