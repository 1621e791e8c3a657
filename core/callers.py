"""Who was charged lately, for an admission or for anything else, as monitors see it."""

from collections import Counter, OrderedDict

import trio

from core.coordinator import Coordinator
from core.events import MOST_CALLERS, CallerView, Limited, unix_ms
from core.limits import Charge, OverLimit
from core.watch import Broadcast


class Callers:
    """Charges callers, and remembers the latest for monitors."""

    def __init__(self, coordinator: Coordinator, broadcast: Broadcast) -> None:
        self._coordinator = coordinator
        self._broadcast = broadcast
        self.refused = Counter(user=0, login=0)  # {kind of caller: requests refused}
        self._latest: OrderedDict[str, tuple[float, Charge]] = OrderedDict()  # {caller: forget it at, charge}

    async def charge(self, caller: str, limit: int) -> Charge:
        """Charge a caller for one request, or raise OverLimit or RedisUnavailable."""
        try:
            charge = await self._coordinator.charge(caller, limit)
        except OverLimit as refusal:
            self.note_refusal(refusal)
            raise
        self.note(charge)
        return charge

    def note(self, charge: Charge) -> None:
        """Remember what a caller was charged, until its oldest charge leaves the window."""
        self._latest[charge.caller] = trio.current_time() + charge.reset_s, charge
        self._latest.move_to_end(charge.caller)
        if len(self._latest) > MOST_CALLERS:
            self._latest.popitem(last=False)

    def note_refusal(self, refusal: OverLimit) -> None:
        """Remember that a caller is over its limit, and tell monitors."""
        charge = refusal.charge
        self.note(charge)
        self.refused[charge.caller.partition(":")[0]] += 1
        self._broadcast.tell(Limited(unix_ms(), charge.caller, charge.limit, charge.reset_s))

    def views(self) -> list[CallerView]:
        """What monitors see."""
        now = trio.current_time()
        return [
            CallerView(charge.caller, charge.limit, charge.remaining, max(1, round(until - now)))
            for until, charge in self._latest.values()
            if until > now
        ]
