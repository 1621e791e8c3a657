import subprocess
import sys
from random import Random
from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batches import State as BatchState
from core.batches import Trigger
from core.events import BatchView, CallerView, Flushed, Limited, Snapshot, Stopped
from monitor import lines, tables
from monitor.state import (
    KEPT_FLUSHES,
    KEPT_INSTANCES,
    KEPT_REFUSALS,
    Connected,
    Heard,
    Lost,
    State,
    Unreadable,
    apply,
)
from monitor.views import batches, callers, condition, totals
from tests.monitor.samples import after, batch, caller, flushed, limited, snapshot


def conditions(state: State, now_s: float) -> dict[str, str]:
    return {name: condition(instance, now_s) for name, instance in state.instances.items()}


class TestInstances:
    def test_an_instance_is_up_until_three_seconds_after_its_last_word(self) -> None:
        state = after(snapshot("api-1"), now_s=10.0)
        assert conditions(state, 13.0) == {"api-1": "up"}
        assert conditions(state, 13.1) == {"api-1": "silent"}

    def test_any_word_of_an_instance_breaks_its_silence(self) -> None:
        state = after(flushed(instance="api-1"), now_s=4.0, start=after(snapshot("api-1")))
        assert conditions(state, 5.0) == {"api-1": "up"}

    def test_an_instance_that_said_goodbye_is_stopped_until_it_speaks_again(self) -> None:
        gone = after(snapshot("api-1"), Stopped("api-1", 0))
        assert conditions(gone, 0.0) == {"api-1": "stopped"}
        assert conditions(after(snapshot("api-1"), start=gone), 0.0) == {"api-1": "up"}

    def test_time_without_redis_is_nobodys_silence(self) -> None:
        lost = after(Lost("refused"), now_s=2.0, start=after(snapshot("api-1"), now_s=1.0))
        back = after(Connected(), now_s=60.0, start=lost)
        assert conditions(back, 61.0) == {"api-1": "up"}
        assert conditions(back, 62.1) == {"api-1": "silent"}

    def test_nothing_that_comes_in_numbers_grows_without_end(self) -> None:
        many = range(2 * max(KEPT_INSTANCES, KEPT_REFUSALS, KEPT_FLUSHES))
        state = after(*(one for n in many for one in (snapshot(f"api-{n}"), limited(f"user:{n}"), flushed())))
        assert len(state.instances) == KEPT_INSTANCES
        assert len(state.refusals) == KEPT_REFUSALS
        assert len(state.flushes) == KEPT_FLUSHES
        assert state.flushes_heard == len(many)


class TestBatches:
    def test_a_batch_that_two_instances_see_is_one_with_the_waiters_of_both(self) -> None:
        state = after(
            snapshot("api-1", batch(waiting=2, size=3, flush_in_ms=1900)),
            snapshot("api-2", batch(waiting=1, size=2, flush_in_ms=2000)),
        )
        [merged] = batches(state, 0.0)
        assert (merged.waiting, merged.size, merged.threshold, merged.flush_in_ms) == (3, 3, 3, 1900)

    def test_the_flusher_is_the_instance_that_says_it_flushes(self) -> None:
        state = after(
            snapshot("api-1", batch(state="claimed", flushing=True)), snapshot("api-2", batch(state="claimed"))
        )
        [merged] = batches(state, 0.0)
        assert (merged.state, merged.flusher) == ("claimed", "api-1")

    def test_a_batch_is_claimed_as_soon_as_one_instance_knows(self) -> None:
        state = after(snapshot("api-1", batch(state="claimed")), snapshot("api-2", batch()))
        [merged] = batches(state, 0.0)
        assert (merged.state, merged.flusher) == ("claimed", "")

    def test_the_time_to_flush_runs_on_between_snapshots_and_stops_at_zero(self) -> None:
        state = after(snapshot("api-1", batch(flush_in_ms=2000)), now_s=10.0)
        assert batches(state, 10.5)[0].flush_in_ms == 1500
        assert batches(state, 12.5)[0].flush_in_ms == 0

    def test_batches_of_a_silent_or_stopped_instance_are_dropped(self) -> None:
        state = after(snapshot("api-1", batch("bitcoin")), snapshot("api-2", batch("solana")))
        assert batches(state, 3.1) == []
        assert [one.coin_id for one in batches(after(Stopped("api-1", 0), start=state), 0.0)] == ["solana"]

    def test_of_one_coin_the_claimed_batch_stands_before_the_one_opened_after_it(self) -> None:
        state = after(snapshot("api-1", batch(batch_id="a", state="open"), batch(batch_id="b", state="claimed")))
        assert [one.batch_id for one in batches(state, 0.0)] == ["b", "a"]


class TestCallers:
    def test_callers_closest_to_their_limit_come_first(self) -> None:
        state = after(snapshot("api-1", callers=(caller("a", 10), caller("b", 1), caller("c", 2, limit=4))))
        assert [one.view.caller for one in callers(state, 0.0)] == ["b", "a", "c"]

    def test_of_two_words_on_a_caller_the_smaller_rest_is_believed(self) -> None:
        state = after(snapshot("api-1", callers=(caller("a", 4),)), snapshot("api-2", callers=(caller("a", 9),)))
        assert [one.view.remaining for one in callers(state, 0.0)] == [4]

    def test_a_refused_caller_is_shown_until_it_may_send_again(self) -> None:
        state = after(limited("user:anna", reset_s=7), now_s=10.0)
        [refused] = callers(state, 12.0)
        assert refused.refused
        assert (refused.view.remaining, refused.view.reset_s) == (0, 5)
        assert callers(state, 17.0) == []


class TestTotals:
    def test_totals_are_the_sum_over_instances_also_those_that_are_gone(self) -> None:
        state = after(
            snapshot("api-1", requests=10, calls=1, answered=8, failed=2),
            snapshot("api-2", requests=5, calls=1, answered=5),
            Stopped("api-2", 0),
        )
        total = totals(state)
        assert (total.requests, total.calls, total.answered, total.failed) == (15, 2, 13, 2)

    def test_a_repeated_snapshot_counts_once(self) -> None:
        assert totals(after(*[snapshot("api-1", requests=10)] * 3)).requests == 10

    def test_reduction_is_the_part_of_calls_that_batching_saved(self) -> None:
        assert totals(after(snapshot(calls=1, answered=4))).reduction == 0.75

    def test_without_an_answer_there_is_no_reduction_to_tell(self) -> None:
        assert totals(after(snapshot(calls=1))).reduction is None

    def test_flushes_are_counted_by_trigger_and_listed_newest_first(self) -> None:
        state = after(flushed("bitcoin"), flushed("solana"))
        assert state.triggers == {"window": 2}
        assert [one.coins for one in state.flushes] == [["solana"], ["bitcoin"]]


class TestLink:
    def test_the_moment_of_loss_is_that_of_the_first_failure(self) -> None:
        state = after(Lost("timeout"), now_s=9.0, start=after(Lost("refused"), now_s=5.0))
        assert (state.link, state.lost_at_s, state.lost_reason) == ("lost", 5.0, "timeout")

    def test_words_that_no_one_understands_are_counted(self) -> None:
        assert after(Unreadable(), Unreadable()).unreadable == 2


NAMES = st.sampled_from(["api-1", "api-2", "\x1b[2Jevil", "[red]", ""]) | st.text(max_size=8)
COUNTS = st.integers(0, 2**53)
BATCHES = st.builds(
    BatchView, NAMES, NAMES, st.sampled_from(get_args(BatchState)), COUNTS, COUNTS, COUNTS, st.booleans()
)
CALLERS = st.builds(CallerView, NAMES, COUNTS, COUNTS, COUNTS)
SNAPSHOTS = st.builds(Snapshot, NAMES, *[COUNTS] * 7, st.lists(BATCHES, max_size=4), st.lists(CALLERS, max_size=4))
FLUSHES = st.builds(
    Flushed,
    NAMES,
    COUNTS,
    st.sampled_from(get_args(Trigger)),
    st.lists(NAMES, max_size=4),
    COUNTS,
    st.floats(0, 1e9),
    st.sampled_from(["answered", "failed", "fenced"]),
    NAMES,
)
REFUSALS = st.builds(Limited, NAMES, COUNTS, NAMES, COUNTS, COUNTS)
GOODBYES = st.builds(Stopped, NAMES, COUNTS)
LINK = st.sampled_from([Connected(), Lost("refused"), Unreadable()])
HEARD: st.SearchStrategy[Heard] = st.one_of(SNAPSHOTS, FLUSHES, REFUSALS, GOODBYES, LINK)


class TestAnyOrder:
    @settings(deadline=None)
    @given(heard=st.lists(HEARD, max_size=12), order=st.randoms())
    def test_any_order_and_repetition_is_taken_in_and_can_be_shown(self, heard: list[Heard], order: Random) -> None:
        repeated = heard * 2
        order.shuffle(repeated)
        state = State()
        for now_s, one in enumerate(repeated):
            state = apply(state, one, now_s)
            total = totals(state)
            assert min(msgspec.structs.astuple(total)) >= 0
            assert sum(state.triggers.values()) == state.flushes_heard >= len(state.flushes)
        self.show(state, len(repeated))

    def show(self, state: State, now_s: float) -> None:
        lines.header(state, now_s, paused=False)
        lines.banner(state, now_s)
        lines.saving(state)
        lines.triggers(state)
        tables.batch_rows(state, now_s)
        tables.caller_rows(state, now_s)
        tables.instance_rows(state, now_s)
        tables.flush_rows(state)


def test_the_reducer_and_its_views_know_neither_textual_nor_redis() -> None:
    code = "import sys, monitor.views; print(sorted({'textual', 'redis'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
