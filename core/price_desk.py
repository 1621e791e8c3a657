"""The front door: a request for prices is admitted here, waits, and is answered.

    desk = PriceDesk(settings, coordinator, windows, callers, tally, broadcast)
    await nursery.start(desk.run)
    with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:ann") as request: ...

Requests that come within one pass of the scheduler are admitted together, by one call of the script.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context

import structlog
import trio

from core.admissions import Absent, Admission, Admissions, Ask, Fresh, Joined, Refused, Unknown
from core.batches import Wanted, unknown_coin
from core.callers import Callers
from core.coordinator import Coordinator
from core.errors import CryptoPulseError, NotAtHand, OutboxFull, ShuttingDown, TooBusy, over_budget
from core.events import Draining, unix_ms
from core.freshness import FETCH, AtHand, Freshness
from core.limits import OverLimit
from core.price_request import PriceRequest
from core.settings import Settings
from core.tally import Tally
from core.waiters import Waiter
from core.watch import Broadcast
from core.windows import Windows

# So many coins in one call of the script, and those of one more request: others want Redis too.
_MOST_TOGETHER = 64

_log = structlog.get_logger(__name__)


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
        self._inside = 0  # coins asked for by requests that are being admitted, or wait
        self._asked: deque[PriceRequest] = deque()  # to be admitted

    @property
    def waiting(self) -> int:
        """How many requests wait in windows now."""
        return sum(len(window.waiters) for window in self._windows)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Admit whoever asks, for ever."""
        async with trio.open_nursery() as self._nursery:
            # Admissions start from requests, but must not keep those requests' context alive.
            self._context = copy_context()
            task_status.started()
            await trio.sleep_forever()

    def ask(
        self,
        wanted: Sequence[Wanted],
        *,
        caller: str,
        freshness: Freshness = FETCH,
        tell: Callable[[], None] | None = None,
    ) -> PriceRequest:
        """Charge the caller one unit for each started 50 coins, and join the coins' open batches.

        Raises TooBusy or ShuttingDown; what becomes known later, the request raises when it is over: OverLimit,
        OutboxFull, RedisUnavailable. None of them charges the caller, but for a Redis that went away, or took too long,
        after it had done so. `tell` hears when it is over; without it, somebody is to wait for that.
        """
        if self.is_draining:
            raise ShuttingDown
        if self._inside + len(wanted) > self._settings.max_waiting:
            raise TooBusy
        self._inside += len(wanted)
        request = PriceRequest(Ask(caller, wanted, freshness), self._let_go, tell)
        self._asked.append(request)
        if len(self._asked) == 1:
            self._start_to_admit()
        return request

    def _start_to_admit(self) -> None:
        self._context.run(self._nursery.start_soon, self._admit)

    async def _admit(self) -> None:
        requests = self._next_together()
        if self._asked:
            self._start_to_admit()
        if not requests:
            return
        asked_at = trio.current_time()
        try:
            asks = [request.ask for request in requests]
            answers, grant = await self._coordinator.admit(asks, may_claim=self._windows.may_claim)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who asked are told
            if not isinstance(error, CryptoPulseError):
                _log.error("what became of admissions could not be read", exc_info=error)
            for request in requests:
                request.refuse(error)
            return
        if grant:
            self._windows.hear_grant(grant, asked_at)
        for request, answer in zip(requests, answers, strict=True):
            if not request.left:
                self._hear(request, answer)

    def _next_together(self) -> list[PriceRequest]:
        together: list[PriceRequest] = []
        coins = 0
        while self._asked and coins < _MOST_TOGETHER:
            request = self._asked.popleft()
            if not request.left:
                coins += len(request.ask.wanted)
                together.append(request)
        return together

    def _hear(self, request: PriceRequest, answer: Admissions | OverLimit | OutboxFull) -> None:
        if isinstance(answer, OverLimit):
            self._callers.note_refusal(answer)
        if not isinstance(answer, Admissions):
            request.refuse(answer)
            return
        now = trio.current_time()
        for coin in request.ask.wanted:
            self._tally.requested(coin.coin_id, now)
        self._callers.note(answer.charge)
        coins = zip(request.ask.wanted, answer.of_coins, strict=True)
        request.admit(answer.charge, [self._let_in(request, coin, admission) for coin, admission in coins])

    def _let_go(self, request: PriceRequest) -> None:
        """Give waits up that still go on, and count how all of them ended."""
        now = trio.current_time()
        for waiter in request.waiters:
            self._windows.leave(waiter)
            if waiter.is_answered:
                self._tally.answered(now, waiter.waited_s)
            else:
                self._tally.failed(now)
        self._inside -= len(request.ask.wanted)
        self._tell_if_empty()

    def _let_in(self, request: PriceRequest, coin: Wanted, admission: Admission) -> Waiter:
        deadline = request.asked_at + self._settings.batch_result_timeout_ms / 1000
        if isinstance(admission, Joined):
            stale_if_error_s = request.ask.freshness.stale_if_error_s or 0
            waiter = Waiter(
                coin.coin_id, deadline, request.settle_one, admission.batch_id, admission.at_hand, stale_if_error_s
            )
            self._windows.join(waiter, coin.coin_id, admission, request.asked_at)
        else:
            waiter = Waiter(coin.coin_id, deadline, request.settle_one)
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

    def _tell_if_empty(self) -> None:
        if self.is_draining and not self._inside:
            self._empty.set()
