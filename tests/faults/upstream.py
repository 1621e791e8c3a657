"""An upstream whose every call gives prices that no other call gave, and that remembers which.

upstream = Upstream(Random(seed))
upstream.latency_s = 0.0, 1.0               # each call takes a time between these
url = await nursery.start(upstream.serve)
upstream.given[0].prices["bitcoin"]["usd"]
"""

import time
from decimal import Decimal
from random import Random

import msgspec
from msgspec.structs import replace

from simulator import Simulator, SimulatorConfig
from simulator.messages import Answer, Ending, Request, comma_list
from tests.faults.history import Call


class Upstream(Simulator):
    """A simulator that knows every coin."""

    def __init__(self, random: Random) -> None:
        super().__init__(SimulatorConfig())
        self.latency_s = 0.0, 0.0
        self.given: list[Call] = []
        self._random = random

    def answer(self, request: Request) -> Answer:
        """Answer with prices made of the number of the call, and of the places of coin and currency in it."""
        number, at = len(self.given) + 1, time.monotonic()
        coins, currencies = (comma_list(request.params.get(name)) for name in ("ids", "vs_currencies"))
        self.config.prices = {
            coin: {currency: f"{number}.{row:03}{column:02}" for column, currency in enumerate(currencies, 1)}
            for row, coin in enumerate(coins, 1)
        }
        answer = super().answer(request)
        self.given.append(Call(number=number, at=at, prices=_prices_in(answer)))
        return replace(answer, delay_s=self._random.uniform(*self.latency_s))


def _prices_in(answer: Answer) -> dict[str, dict[str, Decimal]]:
    """What a client may take for prices: nothing, unless the answer is a true one."""
    if answer.status != 200 or answer.ending is not Ending.WHOLE:
        return {}
    try:
        return msgspec.json.decode(answer.body, type=dict[str, dict[str, Decimal]])
    except msgspec.DecodeError:
        return {}
