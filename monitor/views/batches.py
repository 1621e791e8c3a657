"""One row a batch: who waits, when it is flushed, by whom and why, and the coin's last price."""

import msgspec

from core.events import CoinView
from monitor.instances import Claim, Instance, is_well
from monitor.rows import BatchRow
from monitor.state import State, shown_s, wall_ms
from monitor.views.coins import MINUTE_BUCKETS, direction, merged_coins, price_age_s
from monitor.views.sights import Sight, is_claimed, phase, sights

_NO_COIN = CoinView("", [])


class _Flusher(msgspec.Struct, frozen=True):
    """Who is thought to flush a batch, and why."""

    name: str = ""
    is_well: bool = True
    trigger: str = ""


def batches(state: State, now_s: float) -> list[BatchRow]:
    """By coin; of one coin's, the one further on comes first."""
    now_s = shown_s(state, now_s)
    seen = sights(state, now_s)
    seen.sort(key=lambda sight: (sight.coin_id, -sight.progress, sight.batch_id))
    flushers = _Flushers(state, now_s)
    coins = merged_coins(state, now_s)
    wall = wall_ms(state, now_s)
    rows: list[BatchRow] = []
    nth = 0
    for sight in seen:
        nth = nth + 1 if rows and rows[-1].coin_id == sight.coin_id else 1
        rows.append(_row(f"{nth} {sight.coin_id}", sight, flushers.of(sight), coins.get(sight.coin_id), wall))
    return rows


class _Flushers:
    """What is known of who flushes what."""

    def __init__(self, state: State, now_s: float) -> None:
        everybody = state.instances.values()
        self._instances = state.instances
        self._well = {one.name for one in everybody if is_well(one, now_s)}
        # {batch_id: an instance that flushed it when it was last heard}
        self._unwell = {
            batch_id: one.name for one in everybody if one.name not in self._well for batch_id in _held(one)
        }
        claims = [(claim.flush_id, one.name, claim) for one in everybody for claim in one.claims]
        claims.sort(key=lambda item: item[:2])
        self._claims = {coin_id: (name, claim) for _, name, claim in claims for coin_id in claim.coins}

    def of(self, sight: Sight) -> _Flusher:
        """Who flushes a batch: who says so or claimed the coin, or did before it fell silent."""
        unwell = self._unwell.get(sight.batch_id, "")
        if not (is_claimed(sight) or unwell):
            return _NOBODY
        name, claim = self._claims.get(sight.coin_id, ("", None))
        flusher = sight.flusher or (name if name in self._well else "") or unwell or name
        if claim is None or name != flusher:
            claim = self._wide_claim(flusher)
        return _Flusher(flusher, not flusher or flusher in self._well, claim.trigger if claim else "")

    def _wide_claim(self, name: str) -> Claim | None:
        """The latest claim of an instance with more coins than were told."""
        claims = self._instances[name].claims if name else ()
        return next((claim for claim in reversed(claims) if claim.batches > len(claim.coins)), None)


_NOBODY = _Flusher()


def _held(instance: Instance) -> list[str]:
    return [view.batch_id for view in instance.snapshot.batches if view.flushing] if instance.snapshot else []


def _row(key: str, sight: Sight, flusher: _Flusher, coin: CoinView | None, wall: int) -> BatchRow:
    coin = coin or _NO_COIN
    stands = phase(sight, flusher.name, flusher_is_well=flusher.is_well)
    return BatchRow(  # in the order of its fields: by their names it takes ten times as long
        key,
        sight.batch_id,
        sight.coin_id,
        stands,
        sight.waiting,
        sight.size,
        sight.threshold,
        sight.oldest_ms / 1000,
        sight.flush_in_ms / 1000,
        sight.window_ms / 1000,
        flusher.name,
        flusher.is_well,
        "takeover" if stands == "lease ran out" else flusher.trigger,
        coin.price,
        coin.vs_currency,
        direction(coin),
        price_age_s(coin, wall),
        sum(coin.requests[-MINUTE_BUCKETS:]),
        coin.requests,
    )
