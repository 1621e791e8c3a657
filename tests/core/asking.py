"""Requests to an instance of the model, and what became of them, when."""

from typing import Any

import pytest
import trio

from core.admissions import Admissions, Ask
from core.batches import Quote, Trigger, Wanted
from core.coordinator import Coordinator
from core.errors import CryptoPulseError
from core.flush_policy import Call, View
from core.freshness import FETCH, Freshness
from core.price_desk import PriceDesk

Answer = tuple[float, Quote | CryptoPulseError]  # when, what


class Asked:
    """Answers as they come in."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    @property
    def quotes(self) -> list[Quote]:
        return [answer for _, answer in self.answers if isinstance(answer, Quote)]

    @property
    def errors(self) -> list[type[CryptoPulseError]]:
        return [type(answer) for _, answer in self.answers if isinstance(answer, CryptoPulseError)]

    @property
    def times(self) -> list[Any]:
        return [pytest.approx(at) for at, _ in self.answers]

    async def ask(
        self, desk: PriceDesk, coin_id: str = "bitcoin", currency: str = "usd", caller: str = "user:a"
    ) -> None:
        try:
            with desk.ask([Wanted(coin_id, (currency,))], caller=caller) as request:
                await request.over()
                answer: Quote | CryptoPulseError = request.admitted()[0].quote(currency)
        except CryptoPulseError as error:
            answer = error
        self.answers.append((trio.current_time(), answer))


async def admitted(
    coordinator: Coordinator, *coin_ids: str, currency: str = "usd", freshness: Freshness = FETCH
) -> Admissions:
    """What becomes of a request that is admitted by itself, or raise why it is not."""
    wanted = [Wanted(coin_id, (currency,)) for coin_id in coin_ids]
    ([answer], _none) = await coordinator.admit([Ask("user:ann", wanted, freshness)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def call_of(*batches: tuple[View, Trigger], coins_left: int = 0) -> Call:
    return Call(coins_left, batches=list(batches))


async def ask_at_once(asked: Asked, *args: tuple[Any, ...]) -> None:
    async with trio.open_nursery() as nursery:
        for each in args:
            nursery.start_soon(asked.ask, *each)
