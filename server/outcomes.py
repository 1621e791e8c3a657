"""Coins asked for by a request, and what became of each.

request = ask(asked, [Wanted("bitcoin", ("usd", "eur"))], user, freshness)
for outcome in await settled(asked, request): ...
"""

from collections.abc import Callable, Sequence

import msgspec

from core.batches import Quote, Wanted
from core.coordinator import COINS_A_UNIT
from core.errors import BadInput, CryptoPulseError
from core.freshness import Freshness
from core.price_request import PriceRequest
from core.waiters import Waiter
from server.asked import Asked
from server.auth import User
from server.notes import Notes


class Outcome(msgspec.Struct, frozen=True):
    """One coin's quotes in the order of the currencies, and why others are missing, each reason once."""

    coin_id: str
    quotes: list[Quote]
    errors: list[CryptoPulseError]


def ask(
    asked: Asked,
    wanted: Sequence[Wanted],
    user: User,
    freshness: Freshness,
    tell: Callable[[], None] | None = None,
) -> PriceRequest:
    """Ask for coins; `tell` hears when it is known what became of all.

    Raises BadInput if the user's limit could never pay for so many, TooBusy, or ShuttingDown.
    """
    _check_payable(len(wanted), asked.services.settings.throttle_global_limit)
    return asked.services.desk.ask(wanted, caller=user.caller, freshness=freshness, tell=tell)


async def settled(asked: Asked, request: PriceRequest) -> list[Outcome]:
    """What became of each coin, or raise what admitted none of them: OverLimit, OutboxFull, RedisUnavailable.

    Waits for it; whoever leaves, leaves the batches as they are.
    """
    with request:
        await over(asked, request)
        return [_outcome(coin, waiter) for coin, waiter in zip(request.ask.wanted, request.admitted(), strict=True)]


async def over(asked: Asked, request: PriceRequest) -> None:
    """Wait until it is known what became of all coins, and note what is known in the end."""
    try:
        await request.over()
    finally:
        note(request, asked.notes)


def note(request: PriceRequest, notes: Notes) -> None:
    """Note what is known of a request."""
    notes.charge = request.charge
    batches = {waiter.batch_id for waiter in request.waiters}
    if len(batches) == 1:
        notes.batch_id = batches.pop()


def _check_payable(coins: int, limit: int) -> None:
    cost = -(-coins // COINS_A_UNIT)
    if cost > limit:
        raise BadInput(
            f"{coins} coins count as {cost} requests, and your limit is {limit}. "
            f"Ask for at most {limit * COINS_A_UNIT} coins at once."
        )


def _outcome(coin: Wanted, waiter: Waiter) -> Outcome:
    quotes: list[Quote] = []
    errors: dict[tuple[int, str], CryptoPulseError] = {}  # {status, message: the first such error}
    for vs_currency in coin.vs_currencies:
        try:
            quotes.append(waiter.quote(vs_currency))
        except CryptoPulseError as error:
            errors.setdefault((error.status, error.message), error)
    return Outcome(coin.coin_id, quotes, list(errors.values()))
