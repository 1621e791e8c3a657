import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.events import HISTOGRAM_MS, Bucket, CoinView, Limited, Stopped
from monitor import views
from monitor.rows import BatchRow
from monitor.state import Connected, Lost, State, Unreadable
from monitor.views.past import brought_to_now, quantile, summed
from tests.monitor.samples import (
    AT_MS,
    BUDGET,
    after,
    batch,
    caller,
    claimed,
    coin,
    flushed,
    kept,
    limited,
    message,
    snapshot,
)

OPEN = batch("bitcoin")
CLAIMED = batch("bitcoin", state="claimed", held_for_ms=1500)
FLUSHING = batch("bitcoin", state="claimed", flushing=True)


def the_batch(state: State, now_s: float = 0.0) -> BatchRow:
    [row] = views.batches(state, now_s)
    return row


def counts(**at: int) -> tuple[int, ...]:
    """A histogram: `_200=3` are three within 200 ms, `more=1` is one that took longer than all."""
    ends = [f"_{end_ms}" for end_ms in HISTOGRAM_MS]
    return tuple(at.get(end, 0) for end in [*ends, "more"])


class TestBatches:
    def test_a_batch_that_two_instances_see_is_one_with_the_waiters_of_both(self) -> None:
        row = the_batch(
            after(
                message("api-1", snapshot(batch(waiting=2, size=3, flush_in_ms=1900, oldest_ms=3100))),
                message("api-2", snapshot(batch(waiting=1, size=2, flush_in_ms=2000, oldest_ms=900))),
            )
        )
        assert (row.waiting, row.size, row.threshold, row.flush_in_s, row.oldest_s) == (3, 3, 3, 1.9, 3.1)
        assert (row.phase, row.window_s, row.flusher, row.flusher_is_well) == ("open", 5.0, "", True)

    def test_time_runs_on_between_two_messages_but_nothing_is_called_overdue_for_that(self) -> None:
        state = after(message("api-1", snapshot(batch(flush_in_ms=2000, oldest_ms=3000))), now_s=10.0)
        row = the_batch(state, 10.5)
        assert (row.flush_in_s, row.oldest_s) == (1.5, 3.5)
        assert (the_batch(state, 12.5).flush_in_s, the_batch(state, 12.5).phase) == (0.0, "open")

    def test_a_batch_that_should_have_been_flushed_is_overdue(self) -> None:
        row = the_batch(after(message("api-1", snapshot(batch(flush_in_ms=-700)))))
        assert (row.phase, row.flush_in_s) == ("overdue", -0.7)

    def test_a_claim_may_take_a_moment_before_its_batch_is_overdue(self) -> None:
        row = the_batch(after(message("api-1", snapshot(batch(flush_in_ms=-100)))))
        assert (row.phase, row.flush_in_s) == ("open", 0.0)

    def test_batches_of_a_silent_or_stopped_instance_are_dropped(self) -> None:
        state = after(message("api-1", snapshot(batch("bitcoin"))), message("api-2", snapshot(batch("solana"))))
        assert views.batches(state, 3.1) == []
        assert [row.coin_id for row in views.batches(after(Stopped(0), start=state), 0.0)] == ["solana"]

    def test_batches_that_are_settled_are_not_waited_for(self) -> None:
        settled = snapshot(batch("bitcoin", state="answered"), batch("solana", state="failed"))
        assert views.batches(after(message("api-1", settled)), 0.0) == []

    def test_of_one_coin_the_claimed_batch_stands_before_the_one_opened_after_it(self) -> None:
        told = snapshot(batch("b"), batch("a", batch_id="1"), batch("a", batch_id="2", state="claimed"))
        rows = views.batches(after(message("api-1", told)), 0.0)
        assert [(row.key, row.batch_id) for row in rows] == [("1 a", "2"), ("2 a", "1"), ("1 b", "batch-of-b")]

    def test_a_coin_keeps_its_key_when_its_next_batch_opens(self) -> None:
        first = after(message("api-1", snapshot(batch(batch_id="one"))))
        assert the_batch(first).key == the_batch(after(message("api-1", snapshot(batch(batch_id="two"))))).key

    def test_a_batch_shows_its_coins_last_price(self) -> None:
        row = the_batch(after(message("api-1", snapshot(OPEN, coins=(coin(requests=[0] * 10 + [4, 7]),)))), 1.0)
        assert (row.price, row.vs_currency, row.direction, row.price_age_s) == ("91204.11", "usd", 1, 7.0)
        assert (row.per_minute, row.requests_line) == (11, [0] * 10 + [4, 7])

    def test_a_coin_without_a_price_has_no_age(self) -> None:
        row = the_batch(after(message("api-1", snapshot(OPEN))))
        assert (row.price, row.direction, row.price_age_s, row.per_minute) == ("", 0, None, 0)

    def test_without_redis_the_picture_stands_still(self) -> None:
        lost = after(Lost("refused"), now_s=1.0, start=after(message("api-1", snapshot(OPEN, coins=(coin(),)))))
        assert views.batches(lost, 1.0) == views.batches(lost, 60.0) != []

    def test_when_redis_is_back_the_picture_goes_on_where_it_stood(self) -> None:
        lost = after(Lost("refused"), now_s=1.0, start=after(message("api-1", snapshot(OPEN))))
        assert the_batch(after(Connected(), now_s=60.0, start=lost), 60.0).oldest_s == 4.0


class TestFlusher:
    def test_the_flusher_is_the_instance_that_says_it_flushes(self) -> None:
        row = the_batch(after(message("api-1", snapshot(FLUSHING)), message("api-2", snapshot(CLAIMED))))
        assert (row.phase, row.flusher, row.flusher_is_well, row.trigger) == ("claimed", "api-1", True, "")

    def test_a_batch_is_claimed_as_soon_as_one_instance_knows(self) -> None:
        row = the_batch(after(message("api-1", snapshot(CLAIMED)), message("api-2", snapshot(OPEN))))
        assert (row.phase, row.flusher) == ("claimed", "")

    def test_a_claim_tells_who_flushes_for_others_and_why(self) -> None:
        claim = message("api-2", snapshot(), claimed("bitcoin", trigger="threshold"))
        row = the_batch(after(claim, message("api-1", snapshot(CLAIMED))))
        assert (row.phase, row.flusher, row.trigger) == ("claimed", "api-2", "threshold")

    def test_a_wide_claim_is_why_its_instance_flushes_coins_it_did_not_name(self) -> None:
        row = the_batch(after(message("api-1", snapshot(FLUSHING), claimed("solana", trigger="window", batches=30))))
        assert (row.flusher, row.trigger) == ("api-1", "window")

    def test_a_claim_that_ended_explains_nothing(self) -> None:
        ended = message("api-1", snapshot(FLUSHING), claimed("bitcoin", flush_id=1), flushed("bitcoin", flush_id=1))
        assert the_batch(after(ended)).trigger == ""

    def test_of_two_claims_the_later_is_true(self) -> None:
        late, early = claimed("bitcoin", trigger="takeover", flush_id=9), claimed("bitcoin", flush_id=8)
        row = the_batch(
            after(message("api-1", snapshot(CLAIMED), late), message("api-2", snapshot(), early)),
        )
        assert (row.flusher, row.trigger) == ("api-1", "takeover")

    def test_an_open_batch_has_no_flusher_though_its_coins_earlier_one_was_claimed(self) -> None:
        row = the_batch(after(message("api-1", snapshot(OPEN), claimed("bitcoin"))))
        assert (row.phase, row.flusher, row.trigger) == ("open", "", "")

    def test_the_lease_of_a_silent_flusher_ran_out(self) -> None:
        state = after(message("api-1", snapshot(FLUSHING)))
        row = the_batch(after(message("api-2", snapshot(CLAIMED)), now_s=3.1, start=state), 3.1)
        assert (row.phase, row.flusher, row.flusher_is_well, row.trigger) == (
            "lease ran out", "api-1", False, "takeover",
        )  # fmt: skip
        assert row.waiting == 1

    def test_a_lease_that_nobody_renews_ran_out(self) -> None:
        state = after(message("api-1", snapshot(CLAIMED)))
        assert the_batch(state, 1.4).phase == "claimed"
        assert the_batch(state, 1.6).phase == "lease ran out"

    def test_whoever_took_over_is_the_flusher_and_not_the_silent_one(self) -> None:
        state = after(message("api-1", snapshot(FLUSHING)))
        taken = message("api-2", snapshot(FLUSHING), claimed("bitcoin", trigger="takeover"))
        row = the_batch(after(taken, now_s=3.1, start=state), 3.1)
        assert (row.phase, row.flusher, row.trigger) == ("claimed", "api-2", "takeover")


class TestCoins:
    def test_requests_add_up_and_the_newest_price_wins(self) -> None:
        state = after(
            message("api-1", snapshot(OPEN, coins=(coin(requests=[1, 2], price="2", fetched_at_ms=AT_MS),))),
            message("api-2", snapshot(OPEN, coins=(coin(requests=[9, 3, 4], price="1"),))),
        )
        [row] = views.coins(state, 1.0)
        assert (row.coin_id, row.per_minute, row.requests_line) == ("bitcoin", 19, [9, 4, 6])
        assert (row.price, row.direction, row.price_age_s) == ("2", -1, 1.0)
        assert (row.waiting, row.batches) == (2, 1)

    def test_a_price_is_believed_rather_than_none(self) -> None:
        blank = CoinView("bitcoin", [1], fetched_at_ms=AT_MS)
        state = after(message("api-1", snapshot(coins=(coin(),))), message("api-2", snapshot(coins=(blank,))))
        assert [row.price for row in views.coins(state, 0.0)] == ["91204.11"]

    def test_coins_stay_while_messages_come_without_them(self) -> None:
        state = after(message("api-1", snapshot(coins=(coin(),))), message("api-1", snapshot(coins=None)))
        assert [row.coin_id for row in views.coins(state, 0.0)] == ["bitcoin"]

    def test_a_coin_that_is_waited_for_is_there_though_nobody_told_of_it(self) -> None:
        [row] = views.coins(after(message("api-1", snapshot(OPEN))), 0.0)
        assert (row.coin_id, row.waiting, row.per_minute, row.requests_line) == ("bitcoin", 1, 0, [])

    def test_the_requests_of_a_silent_instance_grow_old_and_leave(self) -> None:
        state = after(message("api-1", snapshot(coins=(coin(requests=[5, *[0] * 10, 7]),))))
        assert [row.per_minute for row in views.coins(state, 4.9)] == [12]
        assert [row.requests_line[-3:] for row in views.coins(state, 10.0)] == [[7, 0, 0]]
        assert views.coins(state, 60.0) == []

    @pytest.mark.parametrize(
        ("price", "before", "direction"),
        [("2", "1", 1), ("1", "2", -1), ("1", "1", 0), ("1", "", 0), ("nan", "1", 0), ("\x1b[2J", "1", 0)],
    )
    def test_the_direction_is_told_only_where_two_prices_are_known(
        self, price: str, before: str, direction: int
    ) -> None:
        state = after(message("api-1", snapshot(coins=(coin(price=price, before=before),))))
        assert [row.direction for row in views.coins(state, 0.0)] == [direction]


class TestCallers:
    def test_of_two_words_on_a_caller_the_smaller_rest_is_true(self) -> None:
        state = after(
            message("api-1", snapshot(callers=(caller("a", 9), caller("b", 1)))),
            message("api-2", snapshot(callers=(caller("a", 4),))),
        )
        assert [(row.caller, row.remaining) for row in views.callers(state, 0.0)] == [("a", 4), ("b", 1)]

    def test_a_word_from_before_the_limits_reset_is_true_no_more(self) -> None:
        old, new = caller("a", 0, reset_s=1), caller("a", 15, reset_s=30)
        state = after(message("api-1", snapshot(callers=(old,))), message("api-2", snapshot(callers=(new,))))
        assert [(row.remaining, row.reset_s) for row in views.callers(state, 2.0)] == [(15, 28.0)]

    def test_a_refused_caller_is_shown_until_it_may_send_again(self) -> None:
        state = after(message(), limited("user:anna", reset_s=7, times=5), limited("user:anna", reset_s=7), now_s=10.0)
        [row] = views.callers(state, 12.0)
        assert (row.caller, row.limit, row.remaining, row.reset_s, row.refused) == ("user:anna", 20, 0, 5.0, 6)
        assert views.callers(state, 17.0) == []

    def test_refusals_are_counted_beside_what_instances_say(self) -> None:
        state = after(limited("user:anna"), message("api-1", snapshot(callers=(caller("user:anna", 3),))))
        assert [(row.remaining, row.refused) for row in views.callers(state, 0.0)] == [(0, 1)]
        assert [
            (row.remaining, row.refused) for row in views.callers(after(message(), now_s=8.0, start=state), 8.0)
        ] == [(3, 1)]

    def test_the_time_of_a_refusal_is_when_it_happened_not_when_it_was_told(self) -> None:
        state = after(message("api-1", None, Limited(AT_MS - 2000, "a", 20, 7)), now_s=10.0)
        assert [row.reset_s for row in views.callers(state, 10.0)] == [5.0]


class TestInstances:
    def test_an_instance_tells_how_it_stands(self) -> None:
        told = snapshot(OPEN, requests=9, calls=2, answered=7, failed=1)
        [row] = views.instances(after(message("api-1", told)), 2.0)
        assert (row.name, row.condition, row.heard_s_ago, row.uptime_s) == ("api-1", "up", 2.0, 62.0)
        assert (row.requests, row.calls, row.answered, row.failed, row.batches, row.waiting) == (9, 2, 7, 1, 1, 1)
        assert (row.lag_ms, row.memory_bytes, row.outbox) == (1.5, 80_000_000, 4)

    def test_the_uptime_of_an_instance_that_is_not_there_stands_still(self) -> None:
        assert [row.uptime_s for row in views.instances(after(message("api-1", snapshot())), 9.0)] == [60.0]

    def test_an_instance_that_never_told_how_it_stands_is_listed_too(self) -> None:
        state = after(message("b"), message("a", snapshot()))
        assert [(row.name, row.outbox) for row in views.instances(state, 0.0)] == [("a", 4), ("b", None)]


class TestFlushes:
    def test_the_newest_flush_is_first_with_its_steps(self) -> None:
        newest, before = views.flushes(after(flushed("bitcoin"), flushed("solana", "eos", "solana")))
        assert (newest.key, newest.coins, newest.requests, newest.open_ms) == ("2", ["solana", "eos"], 9, 5020)
        assert (newest.claim_ms, newest.upstream_ms, newest.publish_ms) == (3.5, 212.4, 4.5)
        assert (before.key, before.instance, before.trigger, before.outcome) == ("1", "api-1", "window", "answered")

    def test_a_flush_tells_when_postgres_had_its_prices(self) -> None:
        state = after(flushed("bitcoin", flush_id=1), flushed("solana", flush_id=2), now_s=10.0)
        state = after(message("api-1", None, kept(1), at_ms=AT_MS + 400), now_s=10.4, start=state)
        assert [row.kept_after_ms for row in views.flushes(state)] == [None, 0]
        later = message("api-1", None, kept(1, at_ms=AT_MS + 900), at_ms=AT_MS + 1000)
        assert views.flushes(after(later, now_s=11.0, start=state))[1].kept_after_ms == 900

    def test_another_instance_may_keep_a_flushs_prices_by_its_own_clock(self) -> None:
        word = message("api-2", None, kept(7, at_ms=5_000_000), at_ms=5_000_100)
        state = after(word, now_s=10.3, start=after(flushed("bitcoin"), now_s=10.0))
        assert [row.kept_after_ms for row in views.flushes(state)] == [200]

    def test_prices_may_be_kept_before_their_flush_is_heard_of(self) -> None:
        assert [row.kept_after_ms for row in views.flushes(after(kept(7), flushed("bitcoin")))] == [0]

    def test_the_anatomy_of_a_flush_has_each_of_its_batches(self) -> None:
        state = after(flushed("bitcoin", "solana"), flushed("eos"))
        rows = views.flushed_batches(state, "1")
        assert [(row.coin_id, row.trigger, row.size, row.open_ms, row.failure) for row in rows] == [
            ("bitcoin", "window", 3, 5000, ""),
            ("solana", "window", 3, 5010, ""),
        ]

    def test_a_forgotten_flush_has_no_anatomy(self) -> None:
        assert views.flushed_batches(State(), "1") == []


class TestHeader:
    def test_it_says_who_is_there(self) -> None:
        state = after(message("api-1", snapshot()), message("api-2", snapshot(draining=True)), message("api-3"))
        state = after(message("api-3", None, Stopped(0)), Connected(), Unreadable(), start=state)
        header = views.header(state, 1.0)
        assert (header.link, header.instances_up, header.instances, header.unreadable) == ("connected", 1, 2, 1)
        assert header.uptime_s == 61.0

    def test_an_instance_that_is_gone_without_a_goodbye_is_missed(self) -> None:
        header = views.header(after(message("api-1", snapshot())), 61.0)
        assert (header.instances_up, header.instances, header.uptime_s) == (0, 1, 0.0)

    def test_it_says_by_which_rules_batches_are_flushed_and_whether_all_agree(self) -> None:
        state = after(message("api-1", snapshot(threshold=3)))
        header = views.header(state, 0.0)
        assert (header.window_s, header.threshold, header.ride_along, header.differing) == (5.0, 3, True, False)
        assert views.header(after(message("api-2", snapshot(threshold=4)), start=state), 0.0).differing

    def test_the_rules_of_those_that_are_there_no_more_make_no_difference(self) -> None:
        state = after(message("api-1", snapshot(threshold=3)))
        state = after(message("api-2", snapshot(threshold=4)), now_s=4.0, start=state)
        assert (views.header(state, 4.0).threshold, views.header(state, 4.0).differing) == (4, False)
        assert views.header(state, 40.0).threshold == 4

    def test_before_anything_is_heard_it_knows_nothing(self) -> None:
        header = views.header(State(), 0.0)
        assert (header.link, header.instances, header.window_s, header.threshold) == ("connecting", 0, None, None)

    def test_a_loss_is_told_with_its_length_and_reason(self) -> None:
        header = views.header(after(Lost("refused"), now_s=2.0, start=after(message())), 9.0)
        assert (header.link, header.lost_for_s, header.lost_reason, header.instances_up) == ("lost", 7.0, "refused", 1)

    def test_instances_of_another_version_are_counted(self) -> None:
        assert views.header(after(message(version=99), message("api-2")), 0.0).other_versions == 1


class TestBudget:
    def test_the_newest_word_of_the_month_is_true_and_the_calls_of_the_minute_add_up(self) -> None:
        state = after(message("api-1", snapshot()))
        newest = replace(BUDGET, month_calls=4813, month_projected=10_400, minute_calls=2, call_in_ms=3000)
        box = views.budget(after(message("api-2", snapshot(budget=newest)), now_s=1.0, start=state), 2.0)
        assert (box.minute_calls, box.per_minute, box.month_calls, box.per_month) == (21, 30, 4813, 10_000)
        assert (box.month_projected, box.lasts, box.call_in_s) == (10_400, False, 2.0)

    def test_the_month_has_as_many_calls_as_the_instance_says_that_knows_of_most(self) -> None:
        state = after(message("api-1", snapshot(budget=replace(BUDGET, month_calls=4820))))
        newest = replace(BUDGET, month_calls=4812)
        assert views.budget(after(message("api-2", snapshot(budget=newest)), start=state), 0.0).month_calls == 4820

    def test_the_pace_is_that_of_this_month(self) -> None:
        box = views.budget(after(message("api-1", snapshot())), 0.0)
        assert box.pace_s == 30 * 86_400 / 9700  # November

    def test_the_calls_of_an_instance_that_is_gone_leave_the_minute_one_after_the_other(self) -> None:
        """As late as told of, they would go beyond the limit together with those that others may make since."""
        calls = [0, 0, 0, 1, 2, 2, 3, 2, 3, 2, 2, 2]
        told = snapshot(buckets=tuple(Bucket(0, 0, 0, each) for each in calls), budget=replace(BUDGET, minute_calls=18))
        state = after(message("api-1", told))
        at_s = (0.0, 2.9, 10.0, 30.0, 34.0, 55.0, 56.0, 60.0, 600.0)
        assert [views.budget(state, each).minute_calls for each in at_s] == [18, 18, 18, 14, 11, 2, 0, 0, 0]

    def test_a_minute_that_an_instance_did_not_live_through_holds_all_its_calls(self) -> None:
        calls = (Bucket(0, 0, 0, 2), Bucket(0, 0, 0, 1), Bucket(0, 0, 0, 1))
        told = snapshot(buckets=calls, budget=replace(BUDGET, minute_calls=4))
        assert views.budget(after(message("api-1", told)), 40.0).minute_calls == 4

    def test_without_limits_or_calls_there_is_nothing_to_outrun(self) -> None:
        free = replace(BUDGET, per_minute=None, per_month=None, month_projected=0)
        box = views.budget(after(message("api-1", snapshot(budget=free))), 0.0)
        assert (box.per_minute, box.per_month, box.pace_s, box.lasts) == (None, None, None, True)

    def test_before_anything_is_heard_there_is_none(self) -> None:
        assert views.budget(State(), 0.0).per_month is None


class TestSaving:
    def test_all_instances_count_each_bucket_where_it_belongs(self) -> None:
        state = after(message("api-1", snapshot(buckets=(Bucket(6, 6, 0, 1), Bucket(4, 3, 0, 1)))))
        state = after(message("api-2", snapshot(buckets=(Bucket(10, 9, 0, 2),))), now_s=10.0, start=state)
        box = views.saving(state, 10.0)
        assert (box.requests, box.calls, box.reduction, box.per_call) == (20, 4, 0.8, 5.0)
        assert (len(box.calls_line), box.calls_line[-4:]) == (60, [1, 1, 0, 2])

    def test_what_is_older_than_five_minutes_counts_no_more(self) -> None:
        assert views.saving(after(message("api-1", snapshot(buckets=(Bucket(6, 6, 0, 1),)))), 300.0).requests == 0

    def test_without_requests_or_calls_there_is_no_saving_to_tell(self) -> None:
        box = views.saving(State(), 0.0)
        assert (box.reduction, box.per_call, box.calls_line) == (None, None, [0] * 60)


class TestLatency:
    def test_the_waits_and_calls_of_all_instances_are_one_distribution(self) -> None:
        told = [snapshot(waits=counts(_200=50), upstream=counts(_500=4)), snapshot(waits=counts(_5000=50))]
        box = views.latency(after(*(message(f"api-{n}", one) for n, one in enumerate(told))), 0.0)
        assert (box.wait_p50, box.wait_p95, box.wait_p99) == pytest.approx((0.2, 4.95, 4.99))
        assert (box.upstream_p50, box.upstream_p95) == pytest.approx((0.4, 0.49))

    def test_without_any_there_is_none(self) -> None:
        box = views.latency(State(), 0.0)
        assert (box.wait_p50, box.upstream_p95, box.answers_line) == (None, None, [0] * 60)

    def test_a_histogram_with_other_buckets_cannot_be_read(self) -> None:
        assert views.latency(after(message("api-1", snapshot(waits=(1, 2, 3)))), 0.0).wait_p50 is None

    def test_what_a_silent_instance_told_leaves_after_five_minutes(self) -> None:
        state = after(message("api-1", snapshot(waits=counts(_200=1), buckets=(Bucket(1, 1, 0, 1),))))
        assert views.latency(state, 299.0).wait_p50 is not None
        assert (views.latency(state, 300.0).wait_p50, sum(views.latency(state, 300.0).answers_line)) == (None, 0)

    def test_what_took_longer_than_the_last_end_counts_as_that_end(self) -> None:
        assert quantile(counts(more=3), 0.5) == 10.0

    @given(st.lists(st.integers(0, HISTOGRAM_MS[-1] - 1), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
    def test_a_quantile_is_within_the_bucket_of_the_true_one(self, waits_ms: list[int], part: float) -> None:
        told = [0] * (len(HISTOGRAM_MS) + 1)
        for wait_ms in waits_ms:
            told[next(nth for nth, end_ms in enumerate(HISTOGRAM_MS) if wait_ms < end_ms)] += 1
        true_ms = sorted(waits_ms)[max(0, -int(-part * len(waits_ms) // 1) - 1)]
        end_ms = next(end_ms for end_ms in HISTOGRAM_MS if true_ms < end_ms)
        start_ms = max((one for one in (0, *HISTOGRAM_MS) if one <= true_ms), default=0)
        found = quantile(told, part)
        assert found is not None
        assert start_ms / 1000 <= found <= end_ms / 1000


class TestLines:
    def test_lines_of_unequal_length_are_summed_at_their_newest_end(self) -> None:
        assert summed([1, 2, 3], [10]) == summed([10], [1, 2, 3]) == [1, 2, 13]

    @pytest.mark.parametrize(("line", "now"), [([1, 2, 3], [3, 0]), ([7], [7, 0]), ([], [0, 0])])
    def test_a_line_is_brought_to_now_by_dropping_what_is_too_old(self, line: list[int], now: list[int]) -> None:
        assert brought_to_now(line, 1, 2) == now


def test_hostile_names_pass_through_every_view_unchanged() -> None:
    evil = "\x1b[2J[red]"
    state = after(
        message(evil, snapshot(batch(evil), coins=(coin(evil),), callers=(caller(evil),)), flushed(evil)),
    )
    assert the_batch(state).coin_id == evil
    assert [row.coin_id for row in views.coins(state, 0.0)] == [evil]
    assert [row.caller for row in views.callers(state, 0.0)] == [evil]
    assert [row.name for row in views.instances(state, 0.0)] == [evil]
    assert [row.coins for row in views.flushes(state)] == [[evil]]
