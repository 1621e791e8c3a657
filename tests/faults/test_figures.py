"""Figures are reckoned and shown as they are meant."""

from tests.faults.figures import p50, p99, table


def test_medians_and_what_99_of_100_do_not_exceed() -> None:
    values = [float(number) for number in range(1, 102)]
    assert (p50(values), p99(values)) == (51.0, 100.0)


def test_few_values_or_none_have_figures_too() -> None:
    assert (p50([]), p99([]), p50([2.0]), p99([2.0])) == (0.0, 0.0, 2.0, 2.0)


def test_a_table_is_markdown() -> None:
    assert table([{"kills": 50, "p99 s": 1.5}, {"kills": 7, "p99 s": 10.25}]).splitlines() == [
        "| kills | p99 s  |",
        "| ----- | ------ |",
        "| 50    | 1.500  |",
        "| 7     | 10.250 |",
    ]
