"""The table under the reader's eye, and the pure pieces that it is made of."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual import events
from textual.geometry import Offset

from monitor import lines, tables
from monitor.rows import BatchRow
from monitor.tables import BATCHES, FLUSHES, TABS
from monitor.text import bar, clean, cut, memory, milliseconds, padded, price, seconds, spark
from monitor.widgets.arrange import GAP, Sort, arranged, column_at, fitted
from tests.monitor.conftest import Sample, Watched, batch, caller, event, flush, instance, watch

COINS = [f"coin-{nth:02}" for nth in range(40)]


def batches(coins: Sequence[str]) -> list[BatchRow]:
    return [batch(coin) for coin in coins]


def coins_of(rows: Sequence[BatchRow]) -> list[str]:
    return [row.coin_id for row in rows]


class TestArranged:
    ROWS = (batch("b", waiting=1, price_age_s=None), batch("a", waiting=3), batch("c", waiting=2, price_age_s=9.0))

    def test_without_an_order_rows_stay_as_they_come(self) -> None:
        assert coins_of(arranged(BATCHES, self.ROWS, Sort(), "")) == ["b", "a", "c"]
        assert coins_of(arranged(BATCHES, self.ROWS, Sort(reverse=True), "")) == ["c", "a", "b"]

    def test_names_begin_with_a_and_numbers_with_the_largest(self) -> None:
        assert coins_of(arranged(BATCHES, self.ROWS, Sort("COIN"), "")) == ["a", "b", "c"]
        assert coins_of(arranged(BATCHES, self.ROWS, Sort("WAITING"), "")) == ["a", "c", "b"]
        assert coins_of(arranged(BATCHES, self.ROWS, Sort("WAITING", reverse=True), "")) == ["b", "c", "a"]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_what_has_no_value_comes_last_either_way(self, reverse: bool) -> None:
        assert coins_of(arranged(BATCHES, self.ROWS, Sort("AGE", reverse), ""))[-1] == "b"

    @pytest.mark.parametrize("prices", [["9", "10", ""], ["9", "10", "no number"], ["9", "10", "nan-cy"]])
    def test_prices_are_compared_as_numbers_and_what_is_none_comes_last(self, prices: list[str]) -> None:
        rows = [batch(f"coin-{digits}", price=digits) for digits in prices]
        assert [row.price for row in arranged(BATCHES, rows, Sort("LAST PRICE"), "")] == ["10", "9", prices[2]]

    def test_a_filter_finds_a_text_anywhere_in_any_case(self) -> None:
        rows = [*self.ROWS, batch("d", flusher="API-2"), batch("e", phase="lease ran out")]
        assert coins_of(arranged(BATCHES, rows, Sort(), "api-2")) == ["d"]
        assert coins_of(arranged(BATCHES, rows, Sort(), "RAN")) == ["e"]

    @pytest.mark.parametrize("table", TABS, ids=lambda table: table.name)
    def test_each_column_of_each_table_gives_rows_an_order(self, table: tables.Table[object]) -> None:
        rows = {
            "batches": [batch("b"), batch("a", price="", price_age_s=None)],
            "coins": Sample().coins(),
            "limits": [caller("a"), caller("b", 0)],
            "instances": [instance("a"), instance("b", outbox=None)],
            "flushes": [flush("1"), flush("2", kept_after_ms=None)],
            "events": [event("1"), event("2", text="a")],
        }[table.name]
        for column in table.columns:
            forward = arranged(table, rows, Sort(column.title), "")
            assert sorted(map(id, forward)) == sorted(map(id, rows))
            assert len(arranged(table, rows, Sort(column.title, reverse=True), "")) == len(rows)


class TestFitted:
    @given(width=st.integers(1, 250), table=st.sampled_from(TABS))
    def test_columns_never_need_more_room_than_there_is(self, width: int, table: tables.Table[object]) -> None:
        laid = fitted(table.columns, width)
        assert laid[0][0] is table.columns[0]
        assert len(laid) == 1 or sum(width for _, width in laid) + GAP * (len(laid) - 1) <= width

    @given(narrow=st.integers(20, 200), table=st.sampled_from(TABS))
    def test_a_wider_terminal_never_shows_fewer_columns(self, narrow: int, table: tables.Table[object]) -> None:
        shown = {column.title for column, _ in fitted(table.columns, narrow)}
        assert shown <= {column.title for column, _ in fitted(table.columns, narrow + 1)}

    def test_at_eighty_columns_the_batches_keep_what_matters(self) -> None:
        titles = [column.title for column, _ in fitted(BATCHES.columns, 75)]
        assert titles == ["COIN", "WAITING", "OLDEST", "FLUSH IN", "FLUSHER", "LAST PRICE"]

    def test_with_room_all_columns_are_there(self) -> None:
        assert len(fitted(BATCHES.columns, 115)) == len(BATCHES.columns)

    def test_a_click_finds_its_column(self) -> None:
        laid = fitted(BATCHES.columns, 75)
        assert (column_at(laid, 0), column_at(laid, laid[0][1] + GAP), column_at(laid, 300)) == (
            "COIN",
            "WAITING",
            None,
        )


class TestText:
    @given(name=st.text(), width=st.integers(0, 20))
    def test_a_cell_is_as_wide_as_its_column_whatever_it_holds(self, name: str, width: int) -> None:
        cell = padded(((clean(name), ""), (" x", "")), width)
        assert sum(cell_len(text) for text, _ in cell) == width

    def test_what_was_cut_says_so(self) -> None:
        assert (cut("bitcoin", 7), cut("bitcoin", 4), cut("bitcoin", 0)) == ("bitcoin", "bit…", "")

    @pytest.mark.parametrize(
        ("duration_s", "shown"),
        [(None, "-"), (-1, "0.0s"), (3.14, "3.1s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m00s"), (245, "4m05s"),
         (7380, "2h03m"), (352_920, "4d02h")],
    )  # fmt: skip
    def test_a_time_is_short(self, duration_s: float | None, shown: str) -> None:
        assert seconds(duration_s) == shown

    @pytest.mark.parametrize(("took", "shown"), [(None, "-"), (0, "0 ms"), (2.14, "2.1 ms"), (1204, "1,204 ms")])
    def test_milliseconds_are_short(self, took: float | None, shown: str) -> None:
        assert milliseconds(took) == shown

    @pytest.mark.parametrize(
        ("digits", "currency", "shown"),
        [("91204.1100", "usd", "91,204.1100"), (".1421", "usd", ".1421"), ("", "usd", "-"), ("7", "eur", "7 eur"),
         ("1e-9", "usd", "1e-9"), ("\x1b[2J", "usd", "?[2J"), ("٣٤٥٦", "usd", "٣٤٥٦")],
    )  # fmt: skip
    def test_a_price_keeps_every_digit(self, digits: str, currency: str, shown: str) -> None:
        assert price(digits, currency) == shown

    def test_memory_is_told_where_the_system_tells(self) -> None:
        assert (memory(64_000_000), memory(0)) == ("64 MB", "-")

    def test_half_cells_of_a_bar_are_shown(self) -> None:
        assert (bar(0.625, 4), bar(0.1, 4)) == ("━━╸╌", "╸╌╌╌")

    @pytest.mark.parametrize(
        ("values", "width", "shown"),
        [
            ([], 3, "   "),
            ([0, 0], 2, "▁▁"),
            ([0, 1, 2], 3, "▁▅█"),
            ([5], 3, "  █"),
            ([1, 1, 9, 9], 2, "▂█"),
            ([1], 0, ""),
        ],
    )
    def test_a_sparkline_has_the_newest_at_its_right(self, values: list[int], width: int, shown: str) -> None:
        assert spark(values, width) == shown

    @given(values=st.lists(st.integers(0, 10**9), max_size=80), width=st.integers(0, 70))
    def test_a_sparkline_is_as_wide_as_told(self, values: list[int], width: int) -> None:
        assert len(spark(values, width)) == width


class TestAnatomy:
    def test_each_step_begins_where_the_one_before_it_ended(self) -> None:
        steps = [
            "".join(text for text, _ in line)
            for line in lines.anatomy(flush(claim_ms=10, upstream_ms=70, publish_ms=10, kept_after_ms=10), 60)
        ]
        bars = [(step.index("━"), step.rindex("━")) for step in steps[1:]]
        assert all(after[0] == before[1] + 1 for before, after in pairwise(bars))
        assert steps[2].startswith("call          70 ms ")

    @given(took=st.tuples(*[st.floats(0, 1e7)] * 3), kept=st.none() | st.integers(0, 10**7), width=st.integers(40, 200))
    def test_it_fits_whatever_took_how_long(
        self, took: tuple[float, float, float], kept: int | None, width: int
    ) -> None:
        row = flush(claim_ms=took[0], upstream_ms=took[1], publish_ms=took[2], kept_after_ms=kept)
        assert {sum(cell_len(text) for text, _ in line) for line in lines.anatomy(row, width)} == {width}


def test_the_rows_show_on_their_lines() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = [
            batch(), batch("solana", phase="claimed", flusher="api-2", trigger="ride-along", direction=0),
            batch("doge", phase="lease ran out", flusher="api-1", flusher_is_well=False, direction=-1),
        ]  # fmt: skip
        await watched.see()
        table = watched.table.region
        shown = watched.picture()[table.y + 1 : table.y + 4]
        assert shown[0].startswith("▸  bitcoin ")
        assert "2/3    3.1s  ━━━━━╌╌╌  1.9s  -  " in shown[0]
        assert "91,204.11 ▲" in shown[0]
        assert shown[1].split()[3:6] == ["claimed", "api-2", "ride-along"]
        assert shown[2].startswith(" ! doge")
        assert "lease ran out   api-1!" in shown[2]
        assert "91,204.11 ▼" in shown[2]

    watch(story, size=(120, 30))


def test_only_lines_that_changed_are_painted() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = batches(COINS)
        await watched.see()
        painted = watched.table.painted
        await watched.see()
        assert watched.table.painted == painted
        watched.sample.batch_rows = [batch("coin-00", waiting=3), *batches(COINS[1:])]
        await watched.see()
        assert watched.table.painted == painted + 1
        await watched.press("down")
        assert watched.table.painted == painted + 3

    watch(story)


def test_of_five_thousand_rows_only_those_in_sight_are_made_into_text() -> None:
    async def story(watched: Watched) -> None:
        made: list[str] = []

        def name(row: BatchRow) -> bool:
            made.append(row.key)
            return False

        watched.sample.batch_rows = [batch(f"coin-{nth:04}") for nth in range(5000)]
        watched.table.table = replace(BATCHES, alarm=name)
        await watched.see()
        height = watched.table.page
        assert 0 < len(made) <= 2 * height
        made.clear()
        await watched.press("down")
        assert len(made) <= 2 * height
        await watched.press("end")
        assert watched.selected() == ("1 coin-4999", height - 1)

    watch(story)


@pytest.mark.parametrize(
    "change", [["aaa", *COINS], COINS[3:], ["aaa", *COINS[1:]], COINS[8:9], [*COINS[20:], *COINS[:20]], COINS[::-1]]
)
def test_the_selection_stays_on_its_coin_and_its_line_when_other_rows_come_and_go(change: list[str]) -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = batches(COINS)
        await watched.see()
        await watched.press(*["down"] * 8, "pagedown")
        key, line = watched.selected()
        watched.sample.batch_rows = batches([coin for coin in change if f"1 {coin}" != key] + [key[2:]])
        random.Random(4).shuffle(watched.sample.batch_rows)
        await watched.see()
        selected, now = watched.selected()
        assert selected == key
        place = watched.keys_of_rows().index(key)
        rows, page = len(watched.keys_of_rows()), watched.table.page
        assert now == min(max(line, place - max(0, rows - page)), place)

    watch(story)


def test_a_coin_that_is_away_for_a_moment_is_selected_again_on_its_line() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = batches(COINS)
        await watched.see()
        await watched.press(*["down"] * 20)
        selected = watched.selected()
        watched.sample.batch_rows = batches([*COINS[:20], *COINS[21:]])
        await watched.see()
        assert watched.selected() == ("1 coin-21", selected[1])
        watched.sample.batch_rows = batches(COINS)
        await watched.see()
        assert watched.selected() == selected

    watch(story)


def test_what_is_read_without_a_selection_stays_in_place_too() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = batches(COINS)
        await watched.see()
        watched.table.scroll_to(y=10, animate=False)
        await watched.see()
        watched.sample.batch_rows = batches(["aaa", "aab", *COINS])
        await watched.see()
        assert watched.table.scroll_offset.y == 12

    watch(story)


def test_the_top_of_a_list_of_news_shows_what_is_newest_and_another_row_stays() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("5")
        watched.sample.flush_rows = [flush("3"), flush("2"), flush("1")]
        await watched.see()
        assert watched.selected() == ("3", 0)
        await watched.press("down")
        watched.sample.flush_rows = [flush("4"), *watched.sample.flush_rows]
        await watched.see()
        assert watched.selected() == ("2", 2)
        await watched.press("home")
        watched.sample.flush_rows = [flush("5"), *watched.sample.flush_rows]
        await watched.see()
        assert watched.selected() == ("5", 0)

    watch(story)


def test_an_order_that_changes_keeps_the_selection_on_its_coin() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("down", "s")
        watched.sample.batch_rows = [batch("aaa"), *watched.sample.batch_rows]
        await watched.see()
        assert watched.selected() == ("1 ethereum", 2)
        await watched.press("S")
        assert watched.selected() == ("1 ethereum", 1)

    watch(story)


@pytest.mark.parametrize("nth", range(6))
def test_a_click_on_a_header_sorts_and_another_one_turns_it_round(nth: int) -> None:
    async def story(watched: Watched) -> None:
        x = 3 + sum(width + GAP for _, width in watched.table._laid[:nth]) + 1
        title = watched.table._laid[nth][0].title
        await watched.pilot.click("#batches", offset=(x, 0))
        assert watched.table.order == Sort(title)
        await watched.pilot.click("#batches", offset=(x, 0))
        assert watched.table.order == Sort(title, reverse=True)

    watch(story)


def test_the_header_says_what_the_table_is_sorted_by() -> None:
    async def story(watched: Watched) -> None:
        def header() -> str:
            return watched.picture()[watched.table.region.y]

        await watched.press("s")
        assert "COIN↑ " in header()
        await watched.press("s")
        assert "WAITING↓" in header()
        await watched.press("S")
        assert "WAITING↑" in header()

    watch(story)


def test_after_the_last_column_comes_the_order_of_the_rows_themselves() -> None:
    async def story(watched: Watched) -> None:
        await watched.press(*["s"] * len(watched.table._laid))
        assert watched.table.order == Sort("LAST PRICE")
        await watched.press("s")
        assert watched.table.order == Sort()

    watch(story)


def test_a_click_chooses_a_row_and_a_double_click_opens_it() -> None:
    async def story(watched: Watched) -> None:
        await watched.pilot.click("#batches", offset=Offset(10, 2))
        assert watched.selected() == ("1 ethereum", 1)
        await watched.pilot.click("#batches", offset=Offset(10, 3), times=2)
        await watched.pilot.pause()
        assert watched.page.WHERE == "page"

    watch(story)


def test_a_click_below_the_rows_does_nothing() -> None:
    async def story(watched: Watched) -> None:
        await watched.pilot.click("#batches", offset=Offset(10, 8), times=2)
        assert (watched.selected(), watched.page.WHERE) == (("1 bitcoin", 0), "main")

    watch(story)


def test_the_wheel_scrolls() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = batches(COINS)
        await watched.see()
        await watched.pilot._post_mouse_events([events.MouseScrollDown], "#batches", offset=(5, 5), button=0)
        await watched.see()
        assert watched.table.scroll_offset.y > 0

    watch(story)


def test_an_empty_table_says_why() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = []
        await watched.see()
        assert "No batch is open: nobody waits." in watched.picture()[watched.table.region.y + 1]
        await watched.press("enter", "y", "up", "end")
        assert watched.line("keys") == "! There is no row to copy."

    watch(story)


def test_a_new_flush_does_not_move_what_follows_from_a_table_of_flushes() -> None:
    assert FLUSHES.newest_first
    assert not BATCHES.newest_first
