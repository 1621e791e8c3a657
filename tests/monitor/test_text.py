import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.text import bar, harmless, number, spark, time_of_day


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

    @given(values=st.lists(st.integers(0, 10**12), max_size=80), width=st.integers(0, 30))
    def test_a_sparkline_is_as_wide_as_it_should_be_whatever_the_values(self, values: list[int], width: int) -> None:
        assert len(spark(values, width)) == width
