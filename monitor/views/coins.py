"""The coins that were asked for lately."""

from typing import Literal

from core.events import BUCKET_S, BUCKETS, CoinView
from monitor.rows import CoinRow
from monitor.state import State, shown_s, wall_ms
from monitor.views.past import brought_to_now, buckets_ago, summed
from monitor.views.sights import sights

_COIN_BUCKETS = BUCKETS // 5
MINUTE_BUCKETS = 60 // BUCKET_S


def coins(state: State, now_s: float) -> list[CoinRow]:
    """One row a coin that was asked for within a minute, or is waited for now."""
    now_s = shown_s(state, now_s)
    wall = wall_ms(state, now_s)
    known = merged_coins(state, now_s)
    waiting: dict[str, tuple[int, int]] = {}  # {coin_id: (waiting, batches)}
    for sight in sights(state, now_s):
        before = waiting.get(sight.coin_id, (0, 0))
        waiting[sight.coin_id] = (before[0] + sight.waiting, before[1] + 1)
        if sight.coin_id not in known:
            known[sight.coin_id] = CoinView(sight.coin_id, [])
    return [_row(coin, waiting.get(coin.coin_id, (0, 0)), wall) for coin in known.values()]


def merged_coins(state: State, now_s: float) -> dict[str, CoinView]:
    """{coin_id: what all instances together say of it}: requests add up, the newest price is true."""
    merged: dict[str, CoinView] = {}
    for instance in state.instances.values():
        ago = buckets_ago(now_s - instance.coins_s)
        if ago >= _COIN_BUCKETS:
            continue
        for told in instance.coins:
            coin = _brought_to_now(told, ago) if ago else told
            known = merged.get(coin.coin_id)
            merged[coin.coin_id] = coin if known is None else _together(known, coin)
    return merged


def direction(coin: CoinView) -> Literal[-1, 0, 1]:
    """Where the price went; 0 as well where a price before is not known, or cannot be read."""
    if coin.price == coin.before or not coin.price or not coin.before:
        return 0
    try:
        rise = float(coin.price) - float(coin.before)
    except ValueError:
        return 0
    return 1 if rise > 0 else -1 if rise < 0 else 0


def price_age_s(coin: CoinView, wall: int) -> float | None:
    """How old the price is; None without one."""
    return max(0.0, (wall - coin.fetched_at_ms) / 1000) if coin.price else None


def _brought_to_now(coin: CoinView, ago: int) -> CoinView:
    requests = brought_to_now(coin.requests, ago, _COIN_BUCKETS)
    return CoinView(coin.coin_id, requests, coin.vs_currency, coin.price, coin.before, coin.fetched_at_ms)


def _together(one: CoinView, other: CoinView) -> CoinView:
    newest = max(one, other, key=_newness)
    requests = summed(one.requests, other.requests)
    return CoinView(one.coin_id, requests, newest.vs_currency, newest.price, newest.before, newest.fetched_at_ms)


def _newness(coin: CoinView) -> tuple[bool, int, str, str, str]:
    """Any order will do where two prices are equally new, if it is always the same."""
    return bool(coin.price), coin.fetched_at_ms, coin.vs_currency, coin.price, coin.before


def _row(coin: CoinView, waiting: tuple[int, int], wall: int) -> CoinRow:
    return CoinRow(  # in the order of its fields: by their names it takes ten times as long
        coin.coin_id,
        sum(coin.requests[-MINUTE_BUCKETS:]),
        coin.requests,
        waiting[0],
        waiting[1],
        coin.price,
        coin.vs_currency,
        direction(coin),
        price_age_s(coin, wall),
    )
