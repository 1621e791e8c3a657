"""The moments at which a flusher may die or stall, as they are seen on its wires: nothing in it knows of them.

    fleet.ambush = Death(Moment.CLAIMED)
    ...
    await fleet.ambush.sprung.wait()
    fleet.ambush.victim, fleet.ambush.at

Whoever comes to the moment first is met there. Of a moment that is a message going out, the chunk that holds it has
not been forwarded yet; of one that is an answer coming in, not delivered.
"""

import time
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING

import trio

from tests.faults.proxy import Forward

if TYPE_CHECKING:
    from tests.faults.instance import Instance


class Moment(StrEnum):
    """A step of a flush."""

    RIPE = "ripe, not claimed"  # it asks Redis for the claim
    CLAIMED = "claimed"  # Redis' answer grants it
    CALLING = "during the call"  # it has asked the upstream
    ANSWERED = "answer arrived"  # it tells Redis the result
    COMPLETED = "completed"  # Redis' answer accepts it
    NOT_KEPT = "not yet in Postgres"  # it writes prices to Postgres


class Ambush(ABC):
    """Waits for the first instance that comes to a moment."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.sprung = trio.Event()
        self.at = float("nan")  # on the monotonic clock, when it was sprung
        self._victim: Instance | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.moment}: {self._victim or 'waiting'}>"

    @property
    def victim(self) -> "Instance":
        """Whom it met."""
        assert self._victim is not None, f"nobody came to: {self.moment}"
        return self._victim

    async def meet(self, instance: "Instance", moments: set[Moment], chunk: bytes, forward: Forward) -> None:
        """Let the chunk go on, unless this is what was waited for."""
        if self._victim is not None or self.moment not in moments:
            await forward(chunk)
            return
        self._victim = instance
        await self._spring(instance, chunk, forward)

    def _note(self) -> None:
        self.at = time.monotonic()
        self.sprung.set()

    @abstractmethod
    async def _spring(self, victim: "Instance", chunk: bytes, forward: Forward) -> None: ...


class Death(Ambush):
    """Kills it there and then."""

    async def _spring(self, victim: "Instance", chunk: bytes, forward: Forward) -> None:
        if self.moment is Moment.CALLING:
            victim.isolate()  # lest the answer be faster than the kill
            await forward(chunk)
        victim.kill()
        self._note()


class Freeze(Ambush):
    """Stops it there until `go_on`; of its call to the upstream only the answer waits, of all else the message."""

    def __init__(self, moment: Moment) -> None:
        super().__init__(moment)
        self._let_pass = trio.Event()

    async def _spring(self, victim: "Instance", chunk: bytes, forward: Forward) -> None:
        if self.moment is Moment.CALLING:
            await forward(chunk)
        victim.stop()
        self._note()
        await self._let_pass.wait()
        if self.moment is not Moment.CALLING:
            await forward(chunk)

    def let_pass(self) -> None:
        """Let what was held go on, while its sender or receiver is still stopped."""
        self._let_pass.set()

    def go_on(self) -> None:
        """Let it all go on."""
        self._let_pass.set()
        self.victim.go_on()
