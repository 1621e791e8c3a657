import subprocess
import sys
from random import Random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from core.batches import State as BatchState
from core.batches import Trigger
from core.events import (
    BatchView,
    Bucket,
    CallerView,
    Claimed,
    CoinView,
    Draining,
    Flushed,
    FlushedBatch,
    Kept,
    Limited,
    Message,
    NextCall,
    Snapshot,
    Started,
    Stopped,
)
from monitor import views
from monitor.instances import KEPT_CLAIMS, KEPT_RUNS, condition
from monitor.state import (
    KEPT_EVENTS,
    KEPT_FLUSHES,
    KEPT_INSTANCES,
    KEPT_REFUSALS,
    Connected,
    Heard,
    Lost,
    State,
    Unreadable,
    apply,
    tick,
)
from tests.monitor.samples import (
    AT_MS,
    BUDGET,
    STARTED_AT_MS,
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


def conditions(state: State, now_s: float) -> dict[str, str]:
    return {name: condition(instance, now_s) for name, instance in state.instances.items()}


def sentences(state: State) -> list[str]:
    """What happened, the oldest first; alarms with a sign."""
    return [f"{'! ' if event.alarm else ''}{event.text}" for event in reversed(state.events)]


class TestInstances:
    def test_an_instance_is_up_until_three_seconds_after_its_last_word_and_gone_after_sixty(self) -> None:
        state = after(message(), now_s=10.0)
        assert [condition(state.instances["api-1"], now_s) for now_s in (13.0, 13.1, 70.0, 70.1)] == [
            "up", "silent", "silent", "gone",
        ]  # fmt: skip

    def test_any_word_of_an_instance_breaks_its_silence(self) -> None:
        state = after(flushed(), now_s=4.0, start=after(message()))
        assert conditions(state, 5.0) == {"api-1": "up"}

    def test_an_instance_that_said_goodbye_is_stopped_until_it_speaks_again(self) -> None:
        gone = after(message("api-1", snapshot(draining=True), Stopped(0)))
        assert conditions(gone, 9.0) == {"api-1": "stopped"}
        assert conditions(after(message("api-1", snapshot()), start=gone), 0.0) == {"api-1": "up"}

    @pytest.mark.parametrize("word", [message(), message("api-1", None, Draining(0))])
    def test_an_instance_drains_by_its_word_or_by_its_snapshot(self, word: Message) -> None:
        told = word if word.events else replace(word, snapshot=snapshot(draining=True))
        assert conditions(after(told), 0.0) == {"api-1": "draining"}

    def test_time_without_redis_is_nobodys_silence(self) -> None:
        lost = after(Lost("refused"), now_s=2.0, start=after(message(), now_s=1.0))
        back = after(Connected(), now_s=60.0, start=tick(lost, 50.0))
        assert conditions(back, 61.0) == {"api-1": "up"}
        assert conditions(back, 62.1) == {"api-1": "silent"}

    def test_an_instance_is_forgotten_after_ten_minutes_without_a_word(self) -> None:
        state = after(message())
        assert list(tick(state, 600.0).instances) == ["api-1"]
        assert list(tick(state, 600.1).instances) == []


class TestNumbers:
    def test_a_gap_is_counted_and_a_snapshot_wanted_until_the_coins_come(self) -> None:
        whole = after(message("api-1", snapshot(), number=1))
        assert (whole.gaps, whole.wants_snapshot) == (0, False)
        gap = after(message("api-1", snapshot(coins=None), number=5), start=whole)
        assert (gap.gaps, gap.instances["api-1"].gaps, gap.wants_snapshot) == (3, 3, True)
        assert not after(message("api-1", snapshot()), start=gap).wants_snapshot

    def test_another_instances_coins_do_not_close_a_gap(self) -> None:
        state = after(message("api-1", snapshot(coins=None)), message("api-2", snapshot()))
        assert state.wants_snapshot

    def test_nothing_is_wanted_of_an_instance_that_is_silent_or_stopped(self) -> None:
        state = after(message())
        assert state.wants_snapshot
        assert not tick(state, 4.0).wants_snapshot
        assert not after(Stopped(0), start=state).wants_snapshot

    def test_a_monitor_that_starts_late_missed_nothing(self) -> None:
        assert after(message(number=1234)).gaps == 0

    @pytest.mark.parametrize("number", [4, 5])
    def test_a_repeated_or_older_message_changes_nothing(self, number: int) -> None:
        state = after(message("api-1", snapshot(), number=5))
        assert after(message("api-1", snapshot(batch()), flushed("bitcoin"), number=number), start=state) is state

    def test_a_restarted_instance_counts_anew_and_is_no_gap(self) -> None:
        first = after(message("api-1", snapshot(requests=9), number=500))
        again = message("api-1", snapshot(started_at_ms=AT_MS, requests=1), Started(AT_MS), number=1)
        second = after(again, start=first)
        assert second.gaps == 0
        assert [row.requests for row in views.instances(second, 0.0)] == [1]
        assert sentences(second) == ["api-1 started"]

    def test_a_restart_is_told_of_though_its_first_message_was_lost(self) -> None:
        first = after(message("api-1", snapshot(), number=500))
        second = after(message("api-1", snapshot(started_at_ms=AT_MS), number=2), start=first)
        assert sentences(second) == ["api-1 started again"]

    def test_a_restarted_instance_is_taken_in_though_its_clock_was_set_back(self) -> None:
        first = after(message("api-1", snapshot(), number=5))
        second = after(message("api-1", snapshot(started_at_ms=1), number=1), start=first)
        assert second.instances["api-1"].run == 1

    def test_late_words_of_the_run_before_change_nothing(self) -> None:
        old = message("api-1", snapshot(), number=9)
        state = after(old, message("api-1", snapshot(started_at_ms=AT_MS), number=1))
        assert after(old, replace(old, number=10), start=state) is state


class TestEvents:
    def test_an_instance_that_falls_silent_goes_and_comes_back_is_told_of(self) -> None:
        state = tick(tick(after(message()), 4.0), 61.0)
        state = after(message(), now_s=62.0, start=state)
        assert sentences(state) == [
            "! api-1 silent",
            "! api-1 gone: no word for 60 s",
            "api-1 is heard again",
        ]
        assert [event.at_ms for event in state.events] == [AT_MS, AT_MS + 61_000, AT_MS + 4000]

    def test_a_silence_is_told_of_by_whatever_is_heard_next(self) -> None:
        assert sentences(after(Connected(), now_s=4.0, start=after(message()))) == ["! api-1 silent"]

    def test_start_drain_and_stop_are_told_of_once(self) -> None:
        state = after(
            Started(AT_MS), Draining(AT_MS), message("api-1", snapshot(draining=True)), Stopped(AT_MS), Connected()
        )
        assert sentences(state) == ["api-1 started", "api-1 drains", "api-1 stopped"]

    def test_the_loss_and_the_return_of_redis_are_told_of(self) -> None:
        lost = after(Lost("refused"), Lost("timeout"), now_s=10.0, start=State(offset_ms=AT_MS))
        state = after(Connected(), now_s=22.0, start=lost)
        assert sentences(state) == ["! Redis lost: refused", "Redis is heard again after 12 s"]
        assert [event.at_ms for event in state.events] == [AT_MS + 22_000, AT_MS + 10_000]

    def test_a_flush_is_one_sentence(self) -> None:
        state = after(flushed("bitcoin"), flushed("bitcoin", "solana", outcome="failed", reason="upstream_limited"))
        assert sentences(state) == [
            "flush window 1 coin 3 waiters 212 ms",
            "! flush window 2 coins 6 waiters 212 ms failed: upstream_limited",
        ]

    def test_refusals_and_a_moved_call_are_sentences(self) -> None:
        state = after(limited("user:ann"), limited("user:ann", times=5), NextCall(AT_MS, 12_340))
        assert sentences(state) == [
            "user:ann is over its limit of 20",
            "user:ann is over its limit of 20, 5 times",
            "next upstream call moved: in 12.3 s",
        ]

    def test_claims_and_what_postgres_keeps_are_no_sentences(self) -> None:
        assert sentences(after(claimed("bitcoin"), kept(7))) == []

    def test_events_beyond_what_a_message_holds_are_told_of(self) -> None:
        assert sentences(after(message(missed=1300))) == ["api-1 had 1,300 events more than it could tell"]

    def test_a_takeover_names_the_silent_instance_that_flushed_the_coin(self) -> None:
        state = after(message("api-1", snapshot(batch("dogecoin", state="claimed", flushing=True))), now_s=0.0)
        state = after(message("api-3"), now_s=1.6, start=state)
        state = after(message("api-3", None, claimed("dogecoin", trigger="takeover")), now_s=1.8, start=state)
        assert sentences(state) == ["! api-1 silent; api-3 took over dogecoin"]

    def test_a_takeover_from_an_instance_that_still_speaks_says_so(self) -> None:
        takeover = claimed("bitcoin", "dogecoin", "eos", "solana", trigger="takeover", batches=30)
        state = after(claimed("dogecoin"), message("api-3", None, takeover))
        assert sentences(state) == ["! api-3 took over bitcoin, dogecoin, eos and 27 more from api-1"]

    def test_a_takeover_from_nobody_knows_whom_names_nobody(self) -> None:
        assert sentences(after(claimed("dogecoin", trigger="takeover"))) == ["! api-1 took over dogecoin"]

    def test_the_newest_event_is_first_and_each_has_its_own_key(self) -> None:
        state = after(message("api-1", None, flushed("a"), limited("b")), limited("c"))
        assert [(event.key, event.kind) for event in state.events] == [("3", "limit"), ("2", "limit"), ("1", "flush")]

    def test_a_hostile_name_passes_through_unchanged(self) -> None:
        assert sentences(after(limited("\x1b[2J[red]"))) == ["\x1b[2J[red] is over its limit of 20"]


class TestLink:
    def test_the_moment_of_loss_is_that_of_the_first_failure(self) -> None:
        state = after(Lost("timeout"), now_s=9.0, start=after(Lost("refused"), now_s=5.0))
        assert (state.link, state.lost_at_s, state.lost_reason) == ("lost", 5.0, "timeout")

    def test_words_that_no_one_understands_are_counted(self) -> None:
        assert after(Unreadable(), Unreadable()).unreadable == 2


class TestWallClock:
    def test_the_median_of_the_instances_clocks_is_right(self) -> None:
        clocks = [message(f"api-{offset}", at_ms=AT_MS + offset) for offset in (0, 5, 3_600_000)]
        assert views.wall_ms(after(*clocks, now_s=10.0), 11.0) == AT_MS + 5 + 1000

    def test_without_an_instance_the_monitors_own_clock_serves(self) -> None:
        assert views.wall_ms(State(offset_ms=AT_MS), 2.0) == AT_MS + 2000


def test_nothing_that_comes_in_numbers_grows_without_end() -> None:
    state = State()
    for n in range(2 * KEPT_EVENTS):
        events = (flushed("bitcoin", flush_id=n), limited(f"user:{n}"), kept(n), claimed("solana", flush_id=-n - 1))
        state = after(message(f"api-{n % 150}", snapshot(started_at_ms=n), *events), start=state)
    assert len(state.instances) == KEPT_INSTANCES
    assert len(state.refusals) == KEPT_REFUSALS
    assert len(state.flushes) == len(state.kept) == KEPT_FLUSHES
    assert len(state.events) == KEPT_EVENTS


def test_the_claims_and_the_runs_of_one_instance_are_bounded() -> None:
    state = State()
    for n in range(50):
        state = after(message("api-1", snapshot(started_at_ms=n // 25), claimed(flush_id=n)), start=state)
    assert len(state.instances["api-1"].claims) == KEPT_CLAIMS
    restarts = (message("api-1", snapshot(started_at_ms=-n)) for n in range(1, 50))
    assert len(after(*restarts, start=state).instances["api-1"].runs_before) == KEPT_RUNS


def test_a_claim_whose_end_was_lost_is_dropped_in_time() -> None:
    state = after(message(), now_s=61.0, start=after(claimed("bitcoin")))
    assert state.instances["api-1"].claims == ()


NAMES = st.sampled_from(["api-1", "api-2", "\x1b[2Jevil", "[red]", ""]) | st.text(max_size=8)
COUNTS = st.integers(0, 2**53)
ANY = st.integers(-(2**63), 2**64 - 1)
MS = st.floats(0, 1e9)
LINES = st.lists(COUNTS, max_size=70)
TRIGGERS = st.sampled_from(get_args(Trigger))
BATCHES = st.builds(
    BatchView, NAMES, NAMES, st.sampled_from(get_args(BatchState)), COUNTS, COUNTS, COUNTS, ANY, st.booleans(), ANY
)
PRICES = st.sampled_from(["", "91204.11", "0.1421", "nan", "1e400", "not a price"])
COINS = st.builds(CoinView, NAMES, LINES, NAMES, PRICES, PRICES, ANY)
SNAPSHOTS = st.builds(
    snapshot,
    BATCHES,
    BATCHES,
    coins=st.none() | st.lists(COINS, max_size=3).map(tuple),
    callers=st.lists(st.builds(CallerView, NAMES, ANY, ANY, ANY), max_size=3).map(tuple),
    started_at_ms=ANY,
    threshold=COUNTS,
    draining=st.booleans(),
    buckets=st.lists(st.builds(Bucket, COUNTS, COUNTS, COUNTS, COUNTS), max_size=70).map(tuple),
    waits=st.lists(COUNTS, min_size=29, max_size=29).map(tuple) | LINES.map(tuple),
    upstream=LINES.map(tuple),
)
FLUSHED = st.builds(FlushedBatch, NAMES, TRIGGERS, COUNTS, COUNTS)
EVENTS = st.one_of(
    st.builds(Started, ANY),
    st.builds(Draining, ANY),
    st.builds(Stopped, ANY),
    st.builds(Claimed, ANY, ANY, TRIGGERS, st.lists(NAMES, max_size=4), COUNTS),
    st.builds(Flushed, ANY, ANY, TRIGGERS, st.lists(FLUSHED, max_size=4), COUNTS, MS, MS, MS, st.just("fenced"), NAMES),
    st.builds(Kept, ANY, st.lists(ANY, max_size=4), COUNTS),
    st.builds(Limited, ANY, NAMES, COUNTS, COUNTS, COUNTS),
    st.builds(NextCall, ANY, ANY),
)
MESSAGES = st.builds(Message, COUNTS, NAMES, ANY, ANY, st.lists(EVENTS, max_size=4), COUNTS, st.none() | SNAPSHOTS)
HEARD: st.SearchStrategy[Heard] = MESSAGES | st.sampled_from([Connected(), Lost("refused"), Unreadable()])


def show_all(state: State, now_s: float) -> None:
    for view in (
        views.header, views.budget, views.saving, views.latency,
        views.batches, views.coins, views.callers, views.instances,
    ):  # fmt: skip
        view(state, now_s)
    for flush in views.flushes(state):
        assert len(views.flushed_batches(state, flush.key)) >= len(flush.coins)
    assert len(views.events(state)) <= state.events_heard


class TestWhateverComes:
    @settings(deadline=None)
    @given(heard=st.lists(HEARD, max_size=10), order=st.randoms())
    def test_it_is_taken_in_and_can_be_shown(self, heard: list[Heard], order: Random) -> None:
        repeated = heard * 2
        order.shuffle(repeated)
        state = State()
        for now_s, one in enumerate(repeated):
            state = apply(state, one, now_s * 2.5)
        show_all(state, len(repeated) * 2.5)

    @settings(deadline=None)
    @given(heard=st.lists(MESSAGES, max_size=10))
    def test_to_hear_it_once_more_changes_nothing(self, heard: list[Message]) -> None:
        state = State()
        for one in heard:
            state = apply(state, one, 0.0)
            assert apply(state, one, 0.0) == state

    @settings(deadline=None)
    @given(heard=st.lists(MESSAGES, max_size=10))
    def test_no_key_is_used_twice(self, heard: list[Message]) -> None:
        state = after(*heard)
        for keys in ([row.key for row in state.events], [flush.row.key for flush in state.flushes]):
            assert len(set(keys)) == len(keys)


SMALL = st.integers(0, 9)
SAID = st.builds(
    snapshot,
    st.builds(batch, st.sampled_from(["bitcoin", "solana"]), size=SMALL, waiting=SMALL, flushing=st.booleans()),
    coins=st.none() | st.just((coin("bitcoin"),)) | st.just((coin("solana"), coin("eos"))),
    callers=st.just((caller(),)) | st.just(()),
    requests=SMALL,
    draining=st.booleans(),
    buckets=st.just((Bucket(3, 3, 0, 1),)),
    budget=st.builds(lambda calls: replace(BUDGET, month_calls=calls), SMALL),
)
TOLD = st.lists(
    st.tuples(st.sampled_from(["api-1", "api-2", "api-3"]), SAID, st.lists(EVENTS, max_size=2)), max_size=12
)


def history(told: list[tuple[str, Snapshot, list[object]]]) -> list[Message]:
    """What instances send in turn, each with its own numbers; none says goodbye."""
    numbers: dict[str, int] = {}
    messages = []
    for name, said, events in told:
        numbers[name] = numbers.get(name, 0) + 1
        spoken = [event for event in events if isinstance(event, Flushed | Kept | Limited | NextCall)]
        messages.append(message(name, said, *spoken, number=numbers[name]))
    return messages


def last_words(messages: list[Message]) -> list[Message]:
    """One more message of each instance, with its coins."""
    latest = {one.instance: one for one in messages}
    return [
        replace(one, number=one.number + 1, events=[], snapshot=snapshot(batch(one.instance), coins=(coin("eos"),)))
        for one in latest.values()
    ]


def seen(state: State) -> object:
    """All that is shown, but for what happened and what was lost."""
    return (
        replace(views.header(state, 0.0), gaps=0),
        [view(state, 0.0) for view in (views.budget, views.saving, views.latency)],
        views.batches(state, 0.0),
        sorted(map(astuple, views.coins(state, 0.0))),
        [replace(row, gaps=0) for row in views.instances(state, 0.0)],
        state.wants_snapshot,
    )


class TestLoss:
    @settings(deadline=None)
    @given(told=TOLD, order=st.randoms())
    def test_after_loss_disorder_and_repeats_the_latest_words_tell_the_whole_truth(
        self, told: list[tuple[str, Snapshot, list[object]]], order: Random
    ) -> None:
        messages = history(told)
        arriving = [one for one in messages * 2 if order.random() < 0.6]
        order.shuffle(arriving)
        assert seen(after(*arriving, *last_words(messages))) == seen(after(*messages, *last_words(messages)))

    @settings(deadline=None)
    @given(told=TOLD, again=st.randoms())
    def test_in_a_history_of_one_run_each_nothing_repeated_counts_again(
        self, told: list[tuple[str, Snapshot, list[object]]], again: Random
    ) -> None:
        messages = history(told)
        state = after(*messages)
        assert state.gaps == 0
        assert after(*again.sample(messages, len(messages)), start=state) == state

    def test_repeats_of_several_runs_count_once(self) -> None:
        runs = [
            message("api-1", snapshot(started_at_ms=STARTED_AT_MS + run), flushed("bitcoin"), number=number)
            for run in range(KEPT_RUNS)
            for number in (1, 2)
        ]
        state = after(*runs)
        assert after(*runs, start=state) == state


def test_the_reducer_and_its_views_know_neither_textual_nor_redis() -> None:
    code = "import sys, monitor.views; print(sorted({'textual', 'redis'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
