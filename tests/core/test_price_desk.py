"""The life of batches in virtual time: exact, instant, over a model of Redis."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from core.admissions import Ask
from core.batches import Wanted
from core.errors import (
    CryptoPulseError,
    RedisUnavailable,
    ResultTimeout,
    ShuttingDown,
    TooBusy,
    UnknownCoin,
    UpstreamFailed,
    UpstreamLimited,
)
from core.flush_policy import View
from core.limits import OverLimit
from core.price_desk import PriceDesk
from core.redis_link import RedisRefused
from tests.core.asking import Asked, ask_at_once, call_of
from tests.core.model import START_MS, Fleet, ModelCoordinator, settings_for_tests
from tests.garbage import searching


async def test_a_lone_request_is_answered_when_its_window_ends(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    await asked.ask(desk)

    assert asked.times == [5.1]
    assert [(quote.trigger, quote.size) for quote in asked.quotes] == [("window", 1)]
    assert fleet.upstream.calls == [(5.0, {"bitcoin"}, {"usd"})]


async def test_the_third_request_flushes_at_once(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    await ask_at_once(asked, (desk,), (desk,), (desk,))

    assert asked.times == [0.1, 0.1, 0.1]
    assert {(quote.trigger, quote.size) for quote in asked.quotes} == {("threshold", 3)}
    assert len({quote.price for quote in asked.quotes}) == 1
    assert len(fleet.upstream.calls) == 1


async def test_three_requests_over_two_instances_share_one_call(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:

    await ask_at_once(asked, (desk,), (desk,), (other,))

    assert asked.times == [0.1, 0.1, 0.1]
    assert len({quote.price for quote in asked.quotes}) == 1
    assert len(fleet.upstream.calls) == 1


async def test_exactly_one_of_many_instances_flushes_at_the_end_of_a_window(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    desks = [await fleet.start_instance(name) for name in "abcdef"]

    await ask_at_once(asked, (desks[0],), (desks[1],))

    assert asked.times == [5.1, 5.1]
    assert len(fleet.upstream.calls) == 1


async def test_a_window_begins_with_the_request_that_opens_it_not_with_the_answer_of_redis(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    desks = [await fleet.start_instance(name) for name in "ab"]
    fleet.redis_latency_s = 0.5

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desks[0])  # opens the batch at 0.5, and claims it at 5.5
        await trio.sleep(2)
        nursery.start_soon(asked.ask, desks[1])  # joins it at 2.5, when it is due in 3 s

    assert [at for at, *_ in fleet.upstream.calls] == [pytest.approx(5.5)]
    assert {quote.trigger for quote in asked.quotes} == {"window"}
    assert fleet.instances["b"].tally.totals.calls == 0


async def test_a_batch_collects_until_it_is_claimed(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    fleet.redis_latency_s = 0.01  # the claim takes a while to get there

    await ask_at_once(asked, *[(desk,)] * 10)

    assert {quote.size for quote in asked.quotes} == {10}
    assert len(fleet.upstream.calls) == 1


async def test_while_a_call_is_under_way_the_next_batch_collects_and_is_claimed_when_it_ends(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(asked.ask, desk)
        await trio.sleep(0.2)
        for _ in range(4):
            nursery.start_soon(asked.ask, desk)

    assert [at for at, *_ in fleet.upstream.calls] == [0.0, 1.0]
    assert asked.times == [1.0] * 3 + [2.0] * 4
    assert [quote.size for quote in asked.quotes] == [3] * 3 + [4] * 4


async def test_a_batch_that_is_neither_full_nor_due_waits_on_after_the_call_before_it(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(asked.ask, desk)
        await trio.sleep(0.05)
        nursery.start_soon(asked.ask, desk)

    assert [at for at, *_ in fleet.upstream.calls] == [0.0, pytest.approx(5.05)]


async def test_two_currencies_fill_one_batch_and_ride_on_one_call(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    await ask_at_once(asked, (desk,), (desk,), (desk, "bitcoin", "eur"))

    assert fleet.upstream.calls == [(0.0, {"bitcoin"}, {"usd", "eur"})]
    assert sorted(quote.price.vs_currency for quote in asked.quotes) == ["eur", "usd", "usd"]
    assert sorted(price.vs_currency for price in fleet.redis.outbox) == ["eur", "usd"]


async def test_the_time_of_fetch_is_when_the_call_began_by_redis_clock(
    autojump_clock: MockClock, desk: PriceDesk, asked: Asked
) -> None:
    await asked.ask(desk)

    assert [quote.price.fetched_at_ms for quote in asked.quotes] == [START_MS + 5000]


async def test_a_client_that_leaves_does_not_harm_the_others(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    leaver = trio.CancelScope()

    async def ask_and_leave() -> None:
        with leaver:
            await asked.ask(desk)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_leave)
        await trio.sleep(1)
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(1)
        leaver.cancel()

    assert asked.times == [5.1]
    assert [quote.size for quote in asked.quotes] == [2]


async def test_a_batch_that_nobody_waits_for_is_not_fetched(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    with trio.move_on_after(1):
        await asked.ask(desk)
    await trio.sleep(10)

    assert fleet.upstream.calls == []
    assert desk.waiting == 0


async def test_whoever_joins_an_abandoned_batch_past_its_time_gets_it_at_once(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    with trio.move_on_after(1):
        await asked.ask(desk)
    await trio.sleep(6)
    await asked.ask(desk)

    assert asked.times == [7.1]
    assert [quote.size for quote in asked.quotes] == [2]


async def test_a_flush_is_finished_though_its_last_client_leaves(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.latency_s = 1.0
    leaver = trio.CancelScope()

    async def ask_and_leave() -> None:
        with leaver:
            await asked.ask(desk)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_leave)
        await trio.sleep(1)  # the window task of "a" was first, so "a" flushes
        nursery.start_soon(asked.ask, other)
        await trio.sleep(4.5)
        assert len(fleet.upstream.calls) == 1
        leaver.cancel()

    assert asked.times == [6.0]
    assert len(fleet.upstream.calls) == 1


async def test_no_result_in_time_is_a_timeout_at_the_deadline(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.latency_s = 60.0

    await asked.ask(desk)

    assert asked.times == [8.0]
    assert asked.errors == [ResultTimeout]


@pytest.mark.parametrize("failure", [UpstreamFailed("no"), UpstreamLimited("slow down", retry_after_s=7)])
async def test_the_upstreams_failure_reaches_every_waiter_on_every_instance(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked, failure: CryptoPulseError
) -> None:
    fleet.upstream.failure = failure

    await ask_at_once(asked, (desk,), (desk,), (other,))

    assert asked.times == [0.1] * 3
    assert asked.errors == [type(failure)] * 3
    assert [answer.retry_after_s for _, answer in asked.answers if isinstance(answer, CryptoPulseError)] == [
        failure.retry_after_s
    ] * 3
    assert fleet.redis.outbox == []


async def test_a_coin_that_coingecko_does_not_know_is_unknown(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.unknown = {"nocoin"}

    await asked.ask(desk, "nocoin")

    assert asked.errors == [UnknownCoin]


async def test_the_request_over_the_limit_is_refused_and_joins_no_batch(
    autojump_clock: MockClock, desk: PriceDesk, asked: Asked
) -> None:
    await ask_at_once(asked, *[(desk,)] * 21)

    assert asked.errors == [OverLimit]
    assert {quote.size for quote in asked.quotes} == {20}


async def test_a_drain_flushes_open_batches_now_and_refuses_new_requests(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        nursery.start_soon(asked.ask, desk, "ethereum")
        await trio.sleep(1)
        desk.drain()
        nursery.start_soon(asked.ask, desk)

    assert asked.errors == [ShuttingDown]
    assert asked.times == [1.0, 1.1, 1.1]
    assert {quote.trigger for quote in asked.quotes} == {"drain"}


async def test_another_instance_takes_over_when_the_flusher_dies(autojump_clock: MockClock, fleet: Fleet) -> None:
    answers = {name: Asked() for name in "ab"}
    desks = {name: await fleet.start_instance(name) for name in "ab"}
    fleet.upstream.latency_s = 0.5
    async with trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(answers[name].ask, desks[name])
        await trio.sleep(5.2)
        (flusher,) = [name for name, instance in fleet.instances.items() if instance.tally.totals.calls]
        fleet.kill(flusher)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()

    survivor = answers["b" if flusher == "a" else "a"]
    assert [quote.trigger for quote in survivor.quotes] == ["takeover"]
    assert [at for at, *_ in fleet.upstream.calls] == [5.0, 6.5]
    assert [batch.fence for batch in fleet.redis.batches.values()] == [2]


async def test_an_instance_that_missed_the_result_finds_it_when_the_lease_ends(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    deaf = await fleet.start_instance("b")
    fleet.instances["b"].deaf = True
    fleet.upstream.latency_s = 5.1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, deaf)
        await trio.sleep(0.2)
        nursery.start_soon(asked.ask, desk)
        nursery.start_soon(asked.ask, desk)

    # At 5.0 s "b" was told of the lease that had been renewed at 4.7 s, for 1.5 s.
    assert asked.times == [5.3, 5.3, 6.2]
    assert len({quote.price for quote in asked.quotes}) == 1
    assert len(fleet.upstream.calls) == 1


async def test_an_instance_that_looks_finds_what_it_missed(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    fleet.instances["b"].deaf = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, other)
        await trio.sleep(1)
        await ask_at_once(asked, (desk,), (desk,))
        await trio.sleep(0.5)
        await fleet.instances["b"].windows.look()

    assert asked.times == [1.1, 1.1, 1.6]
    assert len({quote.price for quote in asked.quotes}) == 1


async def test_whoever_waits_is_told_when_redis_has_been_away_for_a_second(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(2)
        fleet.instances["a"].link.cut()
        await asked.ask(desk)

    assert asked.errors == [RedisUnavailable, RedisUnavailable]
    assert asked.times == [2.0, 3.0]


async def test_a_short_absence_of_redis_goes_unnoticed(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(4.5)
        fleet.instances["a"].link.cut()
        await trio.sleep(0.9)
        fleet.instances["a"].link.mend()

    assert asked.times == [pytest.approx(5.5)]
    assert [quote.trigger for quote in asked.quotes] == ["window"]


async def test_a_redis_that_forgot_the_batch_leaves_nobody_waiting(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(2)
        fleet.redis.batches.clear()
        fleet.redis.open.clear()
        await fleet.instances["a"].windows.look()

    assert asked.times == [2.0]
    assert asked.errors == [RedisUnavailable]


async def test_a_result_that_redis_never_got_answers_nobody(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(5.05)  # the call is under way
        fleet.instances["a"].link.cut()

    assert asked.errors == [RedisUnavailable]
    assert fleet.redis.outbox == []


async def test_a_completion_is_tried_again_when_redis_is_back_in_time(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(5.05)
        fleet.instances["a"].link.cut()
        await trio.sleep(0.5)
        fleet.instances["a"].link.mend()

    assert asked.times == [pytest.approx(5.55)]
    assert len(fleet.upstream.calls) == 1
    assert len(fleet.redis.outbox) == 1


async def test_whoever_claims_the_next_batch_takes_an_abandoned_one_over_with_the_same_call(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(batch_threshold=1))
    fleet.upstream.latency_s = 2.0
    desk, other = await fleet.start_instance("a"), await fleet.start_instance("b")
    async with trio.open_nursery() as asking:
        asking.start_soon(Asked().ask, desk)
        await trio.sleep(0.5)
        fleet.kill("a")
        asking.start_soon(asked.ask, other)
        await trio.sleep(5)
        asking.cancel_scope.cancel()

    assert [coins for _, coins, _ in fleet.upstream.calls] == [{"bitcoin"}, {"bitcoin"}]
    assert {batch.state for batch in fleet.redis.batches.values()} == {"answered"}
    assert len(asked.quotes) == 1


async def test_what_is_recently_settled_answers_an_admission_it_overtook(
    autojump_clock: MockClock, fleet: Fleet, asked: Asked
) -> None:
    desk, other = await fleet.start_instance("a"), await fleet.start_instance("b")
    await ask_at_once(asked, (desk,), (desk,))
    (batch_id,) = fleet.redis.batches
    late = fleet.redis.batches[batch_id]

    # What "b" sees when the result's message wins against its own admission's reply.
    late.state = "open"
    fleet.redis.open["bitcoin"] = batch_id
    await asked.ask(other)

    assert asked.times == [5.1, 5.1, 5.1]
    assert len(fleet.upstream.calls) == 1


async def test_a_request_that_joins_a_batch_which_was_just_looked_up_is_answered(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    deaf = await fleet.start_instance("b")
    fleet.instances["b"].deaf = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, deaf)
        await trio.sleep(1)
        await ask_at_once(asked, (desk,), (desk,))
        await fleet.instances["b"].windows.look()
        # An admission from before the flush, whose reply comes only now.
        (batch_id,) = fleet.redis.batches
        fleet.redis.batches[batch_id].state = "open"
        fleet.redis.open["bitcoin"] = batch_id
        await asked.ask(deaf)

    assert asked.times == [1.1, 1.1, 1.1, 1.1]
    assert len({quote.price for quote in asked.quotes}) == 1


async def test_an_end_waits_for_the_flush_that_other_instances_wait_for(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, other: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.latency_s = 1.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, other)
        with trio.move_on_after(0.5):
            nursery.start_soon(ask_at_once, Asked(), (desk,))
            await trio.sleep(0.1)
            desk.drain()
            await trio.sleep_forever()
        await fleet.instances["a"].windows.finish()
        assert trio.current_time() == pytest.approx(1.1)

    assert [quote.trigger for quote in asked.quotes] == ["drain"]
    assert len(fleet.upstream.calls) == 1


async def test_a_look_that_redis_refuses_is_made_up_for_by_the_next_round(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: object, batch_ids: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RedisRefused

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(4.9)
        monkeypatch.setattr("tests.core.model.ModelCoordinator.look", refuse)
        fleet.instances["a"].link.cut()
        await trio.sleep(0.3)
        fleet.instances["a"].link.mend()

    assert asked.times == [pytest.approx(5.3)]
    assert len(asked.quotes) == 1


async def test_an_unknown_coin_is_told_at_once_the_second_time_and_charged(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    fleet.upstream.unknown = {"nocoin"}
    await asked.ask(desk, "nocoin")
    with desk.ask([Wanted("nocoin", ("usd",))], caller="user:a") as request:
        await request.over()
        assert request.charge is not None
        assert request.charge.remaining == 18
        with pytest.raises(UnknownCoin):
            request.admitted()[0].quote("usd")

    assert trio.current_time() == pytest.approx(5.1)
    assert len(fleet.upstream.calls) == 1


async def test_beyond_what_an_instance_may_hold_requests_are_refused_uncharged(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(max_waiting=2, batch_threshold=10))
    desk = await fleet.start_instance("a")
    fleet.redis_latency_s = 0.01

    await ask_at_once(asked, *[(desk,)] * 5)
    await ask_at_once(asked, (desk,))

    assert asked.errors == [TooBusy] * 3
    assert len(asked.quotes) == 3
    assert len(fleet.redis.charges["user:a"]) == 3


async def test_who_is_refused_or_leaves_while_being_let_in_holds_no_place(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked
) -> None:
    fleet = Fleet(nursery, settings_for_tests(max_waiting=1, throttle_global_limit=1))
    desk = await fleet.start_instance("a")
    fleet.redis_latency_s = 0.01

    await asked.ask(desk)
    await asked.ask(desk)
    with trio.move_on_after(0.005):
        await asked.ask(desk, caller="user:b")
    await asked.ask(desk, caller="user:c")
    desk.drain()
    with trio.fail_after(1):
        await desk.wait_empty()

    assert asked.errors == [OverLimit]
    assert len(asked.quotes) == 2


async def test_that_a_batch_is_full_may_be_heard_before_ones_own_admission_is_answered(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, asked: Asked
) -> None:
    """Else this instance would not take over when the flusher is lost, until the window ends."""
    other = await fleet.start_instance("b")
    fleet.upstream.latency_s = 0.5
    async with trio.open_nursery() as nursery:
        fleet.instances["b"].deaf = True
        nursery.start_soon(asked.ask, other)
        await trio.sleep(0.1)
        (batch_id,) = fleet.redis.batches
        fleet.instances["a"].windows.hear_full(batch_id, 3)  # as the feed will have told it
        flusher_lost = call_of((View(batch_id, "bitcoin", due_at=0), "threshold"))
        fleet.redis.claim(flusher_lost)  # by an instance that is never heard of again
        fleet.redis.batches[batch_id].state = "open"
        fleet.redis.open["bitcoin"] = batch_id
        nursery.start_soon(asked.ask, desk)
        await trio.sleep(0.01)
        fleet.redis.batches[batch_id].state = "claimed"

    assert {quote.trigger for quote in asked.quotes} == {"takeover"}
    assert [at for at, *_ in fleet.upstream.calls] == [pytest.approx(1.6)]


@pytest.fixture
def admitted_together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests each call of the script admitted."""
    admit, calls = ModelCoordinator.admit, []

    async def counted(self: ModelCoordinator, asks: Sequence[Ask], **how: Any) -> Any:
        calls.append(len(asks))
        return await admit(self, asks, **how)

    monkeypatch.setattr(ModelCoordinator, "admit", counted)
    return calls


async def test_whoever_asks_at_once_is_admitted_together(
    autojump_clock: MockClock, desk: PriceDesk, asked: Asked, admitted_together: list[int]
) -> None:
    await ask_at_once(asked, *[(desk, f"coin-{number}") for number in range(10)])

    assert len(asked.quotes) == 10
    assert admitted_together == [10]


async def test_of_very_many_no_call_of_the_script_admits_more_than_redis_does_in_a_moment(
    autojump_clock: MockClock, nursery: trio.Nursery, asked: Asked, admitted_together: list[int]
) -> None:
    desk = await Fleet(nursery, settings_for_tests(throttle_global_limit=1000)).start_instance("a")
    wanted = [Wanted(f"coin-{number}", ("usd",)) for number in range(40)]
    with ExitStack() as requests:
        for _ in range(4):
            requests.enter_context(desk.ask(wanted, caller="user:a"))
        await ask_at_once(asked, *[(desk,)] * 100)

    assert len(asked.quotes) == 100
    assert admitted_together == [2, 2, 64, 36]


async def test_who_is_told_is_told_once_and_finds_what_came_of_every_coin(
    autojump_clock: MockClock, desk: PriceDesk
) -> None:
    told: list[float] = []
    wanted = [Wanted(coin_id, ("usd",)) for coin_id in ("bitcoin", "ethereum")]
    with desk.ask(wanted, caller="user:a", tell=lambda: told.append(trio.current_time())) as request:
        assert not request.is_over
        await trio.sleep(9)
        assert [waiter.quote("usd").price.coin_id for waiter in request.admitted()] == ["bitcoin", "ethereum"]
    assert told == [pytest.approx(5.1)]


@pytest.mark.parametrize("after_s", [0, 0.005, 1, 5.05])
async def test_who_leaves_is_told_nothing_and_holds_no_place(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, after_s: float
) -> None:
    fleet.redis_latency_s = 0.01
    told: list[float] = []
    with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:a", tell=lambda: told.append(trio.current_time())):
        await trio.sleep(after_s)
    await trio.sleep(10)
    assert told == []
    assert desk.waiting == 0
    desk.drain()
    await desk.wait_empty()


async def test_if_nobody_can_read_what_redis_answers_those_who_asked_are_told_and_others_are_served(
    autojump_clock: MockClock, desk: PriceDesk, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit(self: ModelCoordinator, asks: Sequence[Ask], **how: Any) -> Any:
        await trio.lowlevel.checkpoint()
        raise ValueError("no answer of ours")

    with monkeypatch.context() as patched:
        patched.setattr(ModelCoordinator, "admit", admit)
        with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:a") as request:
            await request.over()
            with pytest.raises(ValueError, match="no answer of ours"):
                request.admitted()
    await asked.ask(desk)
    assert len(asked.quotes) == 1


async def test_a_request_leaves_nothing_behind_that_must_be_searched_for(
    autojump_clock: MockClock, desk: PriceDesk, asked: Asked
) -> None:
    with searching() as left:
        await ask_at_once(asked, *[(desk,)] * 10)
    assert len(asked.quotes) == 10
    assert not {"PriceRequest", "Waiter", "Window", "Result"} & left


async def test_who_left_leaves_nothing_behind_either(autojump_clock: MockClock, desk: PriceDesk) -> None:
    with searching() as left:
        with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:a"):
            await trio.sleep(1)
        await trio.sleep(1)
    assert not {"PriceRequest", "Waiter"} & left


async def test_who_leaves_before_being_admitted_is_not_charged(
    autojump_clock: MockClock, fleet: Fleet, desk: PriceDesk, admitted_together: list[int]
) -> None:
    with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:a"):
        pass
    await trio.sleep(1)
    assert admitted_together == []
    with desk.ask([Wanted("bitcoin", ("usd",))], caller="user:a") as request:
        await request.over()
        assert request.charge is not None
        assert request.charge.remaining == 19
