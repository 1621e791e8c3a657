"""What all instances share is read in good time, or left out."""

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from core.coordinator import Outbox, Outlook
from core.errors import RedisUnavailable
from core.lag import Lag
from core.metrics import Metrics
from core.streams import Streams
from core.tally import Tally
from tests.core.model import settings_for_tests


@dataclass
class Kept:
    """What Redis tells, each time after a while."""

    after_s: float
    refusal: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def outbox(self) -> Outbox:
        await self._read("outbox")
        return Outbox(depth=7, oldest_ms=None, refused=0)

    async def outlook(self) -> Outlook:
        await self._read("outlook")
        return Outlook(now_ms=1_772_250_900_000, call_in_ms=0, calls=12)

    async def _read(self, what: str) -> None:
        self.asked.append(what)
        await trio.sleep(self.after_s)
        if self.refusal is not None:
            raise self.refusal


def metrics(kept: Kept, streams: Streams | None = None) -> Metrics:
    coordinator: Any = kept
    link: Any = SimpleNamespace(commands=0, is_up=True)
    desk: Any = SimpleNamespace(waiting=0, is_draining=False)
    callers: Any = SimpleNamespace(refused=Counter(user=0, login=0))
    return Metrics(
        settings_for_tests(), coordinator, link, desk, callers, Tally(), Lag(), streams or Streams(coordinator, 1)
    )


async def test_a_redis_that_answers_is_waited_for(autojump_clock: MockClock) -> None:
    text = await metrics(Kept(after_s=0.4)).scrape()
    assert b"\ncryptopulse_outbox_prices 7.0\n" in text
    assert b"\ncryptopulse_next_call_seconds 0.0\n" in text


async def test_the_months_calls_are_told_with_a_limit_and_without(autojump_clock: MockClock) -> None:
    text = await metrics(Kept(after_s=0)).scrape()
    assert b"\ncryptopulse_month_calls 12.0\n" in text
    assert b"\ncryptopulse_month_calls_projected 12.0\n" in text
    assert b"cryptopulse_month_calls_limit" not in text


async def test_a_slow_redis_is_waited_for_1_s_in_all_and_left_out(autojump_clock: MockClock) -> None:
    kept = Kept(after_s=0.6)
    text = await metrics(kept).scrape()
    assert trio.current_time() == pytest.approx(1)
    assert kept.asked == ["outbox", "outlook"]
    assert b"\ncryptopulse_redis_up 1.0\n" in text
    assert b"cryptopulse_outbox" not in text


async def test_what_was_read_before_is_not_told_once_redis_is_slow_or_away(autojump_clock: MockClock) -> None:
    kept = Kept(after_s=0)
    told = metrics(kept)
    assert b"cryptopulse_outbox" in await told.scrape()
    kept.after_s = 2
    assert b"cryptopulse_outbox" not in await told.scrape()
    kept.after_s = 0
    kept.refusal = RedisUnavailable()
    assert b"cryptopulse_outbox" not in await told.scrape()


async def test_streams_count_while_they_are_open_whoever_has_them(autojump_clock: MockClock) -> None:
    kept: Any = Kept(after_s=0)
    streams = Streams(kept, most_of_a_caller=2)
    told = metrics(kept, streams)
    with streams.open("user:ann", ["bitcoin"], ["usd"]), streams.open("user:ann", ["bitcoin"], ["usd"]):
        with streams.open("user:bob", ["ethereum"], ["eur"]):
            assert b"\ncryptopulse_streams 3.0\n" in await told.scrape()
        assert b"\ncryptopulse_streams 2.0\n" in await told.scrape()
    assert b"\ncryptopulse_streams 0.0\n" in await told.scrape()
