import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import lines, tables
from monitor.state import Lost, Unreadable
from monitor.text import bar, harmless, number, time_of_day
from tests.monitor.samples import after, batch, caller, flushed, limited, snapshot


def row(rows: tables.Rows, key: str) -> list[str]:
    return [cell.plain for cell in rows[key]]


class TestNames:
    @given(name=st.text(), width=st.integers(1, 20))
    def test_a_name_is_printable_and_fits_its_column_whatever_it_holds(self, name: str, width: int) -> None:
        shown = harmless(name, width)
        assert shown.plain.isprintable()
        assert shown.cell_len <= width

    def test_escape_and_direction_codes_become_question_marks(self) -> None:
        assert harmless("a\x1b[2J\u202eb", 20).plain == "a?[2J?b"

    def test_markup_in_a_name_is_shown_not_obeyed(self) -> None:
        shown = harmless("[red]api[/red]", 20)
        assert (shown.plain, shown.spans) == ("[red]api[/red]", [])

    def test_a_name_that_is_too_long_says_so(self) -> None:
        assert harmless("wrapped-bitcoin", 8).plain == "wrapped…"


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "shown"), [(0, "0"), (1523, "1,523"), (2_500_000, "2.5M"), (3e9, "3.0G"), (4e13, "40.0T")]
    )
    def test_a_number_is_short(self, value: float, shown: str) -> None:
        assert number(value) == shown

    @pytest.mark.parametrize(("part", "shown"), [(-1, "╌╌╌╌"), (0, "╌╌╌╌"), (0.5, "━━╌╌"), (1, "━━━━"), (9, "━━━━")])
    def test_a_bar_is_never_more_than_full_nor_less_than_empty(self, part: float, shown: str) -> None:
        assert bar(part, 4) == shown

    def test_a_moment_is_shown_in_utc(self) -> None:
        assert time_of_day(45_296_789) == "12:34:56Z"


class TestRows:
    def test_a_batch_says_who_waits_how_long_and_its_state(self) -> None:
        state = after(snapshot("api-1", batch("bitcoin", waiting=2, size=2, flush_in_ms=2500)))
        assert row(tables.batch_rows(state, 0.0), "1 bitcoin") == [
            "bitcoin", "2/3", "2", "━━━━╌╌╌╌╌   2.5s", "○ open", "-",
        ]  # fmt: skip

    def test_a_batch_past_its_time_is_due(self) -> None:
        rows = tables.batch_rows(after(snapshot("api-1", batch(flush_in_ms=0))), 0.0)
        assert row(rows, "1 bitcoin")[3] == "━━━━━━━━━    due"

    def test_a_claimed_batch_names_its_flusher_instead_of_a_time(self) -> None:
        rows = tables.batch_rows(after(snapshot("api-2", batch(state="claimed", flushing=True))), 0.0)
        assert row(rows, "1 bitcoin")[3:] == ["-", "● claimed", "api-2"]

    def test_a_coin_keeps_its_row_when_its_next_batch_opens(self) -> None:
        first = after(snapshot("api-1", batch(batch_id="a")))
        then = after(snapshot("api-1", batch(batch_id="b")), start=first)
        assert list(tables.batch_rows(first, 0.0)) == list(tables.batch_rows(then, 0.0))

    def test_each_state_of_a_caller_has_its_sign(self) -> None:
        known = (caller("user:much", 15, reset_s=9), caller("user:little", 4, reset_s=9))
        rows = tables.caller_rows(after(snapshot(callers=known), limited("user:none", reset_s=7)), 0.0)
        assert [row(rows, key) for key in rows] == [
            ["✗ user:none", "0/20", "7s"],
            ["! user:little", "4/20", "9s"],
            ["  user:much", "15/20", "9s"],
        ]

    def test_an_instance_that_was_never_counted_shows_no_number(self) -> None:
        rows = tables.instance_rows(after(flushed(instance="api-1")), 4.0)
        assert row(rows, "api-1") == ["api-1", "○ silent", "-"]

    def test_a_flush_says_when_why_what_and_how_it_ended(self) -> None:
        rows = tables.flush_rows(after(flushed("bitcoin")))
        assert row(rows, "1") == ["12:34:56Z", "window", "1: bitcoin", "3", "212 ms", "✓ answered "]


class TestLines:
    def test_the_header_says_who_is_up_and_by_which_rules_they_flush(self) -> None:
        state = after(snapshot("api-1"), snapshot("api-2"), now_s=9.0, start=after(snapshot("api-3")))
        assert (
            lines.header(state, 9.0, paused=False).plain
            == "CryptoPulse  … CONNECTING  ○ 2/3 up  window 5 s  threshold 3"
        )

    def test_the_header_tells_of_words_it_could_not_read(self) -> None:
        assert lines.header(after(Unreadable()), 0.0, paused=False).plain.endswith("! 1 unreadable")

    def test_the_banner_says_since_when_and_why_without_control_codes(self) -> None:
        state = after(Lost("Connection\x1b refused"), now_s=10.0)
        assert lines.banner(state, 12.0).plain == "! Redis lost - retrying (2 s)  Connection? refused"

    def test_the_saving_is_one_line(self) -> None:
        state = after(snapshot(requests=1523, calls=58, answered=1500, failed=3))
        assert (
            lines.saving(state).plain == "requests 1,523  answered 1,500  failed 3  calls 58  reduction ━━━━━━━━ 96.1%"
        )

    def test_without_redis_the_picture_stands_still(self) -> None:
        lost = after(Lost("refused"), now_s=1.0, start=after(snapshot("api-1", batch(flush_in_ms=3000))))
        assert tables.batch_rows(lost, 1.0) == tables.batch_rows(lost, 60.0)
        assert "● up" in row(tables.instance_rows(lost, 60.0), "api-1")
