"""Each screen at each size, the pages behind the rows, filters, exports, names that mean harm."""

import csv
import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual import events

from monitor.screens.main import NAMES
from monitor.screens.pages import CallerPage, CoinPage, FlushPage, InstancePage
from monitor.state import Connected, Lost
from tests.monitor.conftest import Story, Watched, batch, caller, coin, event, flush, instance, watch

SIZES = [(60, 20), (80, 24), (100, 30), (120, 40), (200, 60)]
HOSTILE = "\x1b[2J\u202e[red]evil[/red]\n\x9b31m" + "字" * 30 + "\u200b\u0300" * 20


def regions(watched: Watched) -> list[tuple[int, int, int, int]]:
    """Of all that is painted by itself."""
    shown = [
        widget
        for widget in watched.page.query("Drawn, LiveTable, FilterLine")
        if widget.display and widget.region.area and all(parent.display for parent in widget.ancestors_with_self)
    ]
    return [(widget.region.x, widget.region.y, widget.region.right, widget.region.bottom) for widget in shown]


def assert_sound(watched: Watched) -> None:
    """Nothing overlaps, and everything is inside of the terminal."""
    width, height = watched.app.size
    boxes = regions(watched)
    cells = [(x, y) for left, top, right, bottom in boxes for y in range(top, bottom) for x in range(left, right)]
    assert len(cells) == len(set(cells))
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in boxes)
    assert all(cell_len(line) == width for line in watched.picture())
    assert watched.table.region.height >= 3
    assert "q quit" in watched.picture()[-1]


@pytest.mark.parametrize("size", SIZES)
def test_nothing_overlaps_on_any_tab_with_a_banner_and_a_filter(size: tuple[int, int]) -> None:
    async def story(watched: Watched) -> None:
        for tab in "123456":
            await watched.press(tab)
            assert_sound(watched)
        await watched.see(Lost("refused"))
        assert_sound(watched)
        await watched.press("slash", "a")
        assert_sound(watched)

    watch(story, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_overlaps_on_any_page(size: tuple[int, int]) -> None:
    async def story(watched: Watched) -> None:
        for tab in "123456":
            await watched.press(tab, "enter")
            assert watched.page.WHERE == "page"
            assert_sound(watched)
            await watched.press("escape")

    watch(story, size=size)


def test_a_terminal_far_too_small_does_no_harm() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("2", "enter", "escape", "question_mark", "escape")
        assert len(watched.picture()) == 3

    watch(story, size=(10, 3))


def test_boxes_become_lines_and_boxes_again_when_the_terminal_changes_while_busy() -> None:
    async def story(watched: Watched) -> None:
        for size in [(60, 20), (200, 60), (80, 24), (30, 10), (120, 40)]:
            await watched.pilot.resize_terminal(*size)
            watched.sample.batch_rows = [batch(f"coin-{nth}") for nth in range(size[0])]
            await watched.see(Connected())
            if size[0] >= 60:
                assert_sound(watched)
        assert watched.line("budget").count("\n") == 2
        await watched.pilot.resize_terminal(60, 20)
        await watched.see()
        assert watched.line("budget") == "budget  minute 19/30  month 4,812/10,000  1/4m19s  lasts ✓"

    watch(story)


def test_the_boxes_say_budget_saving_and_latency() -> None:
    async def story(watched: Watched) -> None:
        minute, month, pace = watched.line("budget").split("\n")
        assert minute.startswith("minute ━")
        assert minute.endswith(" 19/30")
        assert month.endswith(" 4,812/10,000")
        assert pace == "pace   1/4m19s  lasts ✓  next in 1.5s"
        assert watched.line("saving").startswith("requests 1,523  calls 58\n-96.2%  26.3 requests/call\ncalls ")
        assert watched.line("latency").startswith(
            "wait p50 2.5s p95 4.7s p99 5.0s\nupstream p50 0.21s p95 0.48s\nanswers "
        )

    watch(story, size=(130, 40))


def test_the_newest_events_are_below_the_table_but_for_their_own_tab() -> None:
    async def story(watched: Watched) -> None:
        first, second = watched.line("strip").split("\n")
        assert first == "12:36:22.104   limit    api-2       user:anna is over its limit"
        assert second == "12:36:22.104   flush    api-2       window 14 coins 31 waiters 212 ms"
        await watched.press("6")
        assert not watched.page.drawn("strip").display

    watch(story)


PAGES = {
    "1": (CoinPage, ["price     91,204.11 ▲   fetched 6.2s ago", "2/3 wait, the first for 3.1s"], ["2", "1"]),
    "2": (CoinPage, ["price     91,204.11 ▲   fetched 6.2s ago", "74 a minute"], ["2", "1"]),
    "3": (CallerPage, ["12/20  ✓ free", "refused  0 times"], ["2"]),
    "4": (InstancePage, ["● up  for 4d02h, heard 0.1s ago", "memory 64 MB"], []),
    "5": (FlushPage, ["✓ answered   by api-2   trigger threshold", "31 requests for 2 coins: bitcoin", "claim"],
          ["bitcoin 5003 20", "ethereum 900 11"]),
    "6": (InstancePage, ["● up"], ["2", "1"]),
}  # fmt: skip


@pytest.mark.parametrize("tab", PAGES)
def test_enter_opens_a_page_and_escape_goes_back_to_the_same_row(tab: str) -> None:
    kind, facts, rows = PAGES[tab]

    async def story(watched: Watched) -> None:
        await watched.press(tab)
        selected = watched.selected()
        await watched.press("enter")
        assert isinstance(watched.page, kind)
        assert [fact for fact in facts if fact not in watched.line("facts")] == []
        assert watched.keys_of_rows() == rows
        await watched.press("escape")
        assert (watched.page.WHERE, watched.selected()) == ("main", selected)

    watch(story, size=(100, 30))


def test_pages_lead_on_from_coin_to_flush_to_coin_and_back_step_by_step() -> None:
    async def story(watched: Watched) -> None:
        kinds = []
        for key in ("enter", "enter", "enter", "escape", "escape", "escape", "escape"):
            await watched.press(key)
            kinds.append(type(watched.page).__name__)
        assert kinds == ["CoinPage", "FlushPage", "CoinPage", "FlushPage", "CoinPage", "MainScreen", "MainScreen"]

    watch(story)


def test_a_page_goes_on_while_it_is_read_and_survives_the_end_of_its_subject() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("5", "enter")
        watched.sample.flush_rows = [flush("3"), flush("2", kept_after_ms=777)]
        await watched.see()
        assert "777 ms" in watched.line("facts")
        watched.sample.flush_rows = []
        await watched.see()
        assert "777 ms" in watched.line("facts")
        await watched.press("escape", "4", "enter")
        watched.sample.instance_rows = []
        await watched.see()
        assert "it is not heard of any more" in watched.line("facts")
        await watched.press("escape", "1", "enter")
        watched.sample.batch_rows, watched.sample.coin_rows = [], []
        await watched.see()
        assert "nobody asked for it lately" in watched.line("facts")

    watch(story)


def test_a_flush_that_is_not_kept_yet_says_so() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.flush_rows = [flush("1", kept_after_ms=None)]
        await watched.press("5", "enter")
        await watched.see()
        assert "kept        not yet" in watched.line("facts")

    watch(story)


def test_a_filter_is_typed_shown_kept_and_cleared() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("slash", *"ETH")
        assert watched.keys_of_rows() == ["1 ethereum"]
        assert "1 of 3 rows" in watched.line("tabs")
        await watched.press("enter", "space", "down")
        assert "‖ PAUSED" in watched.line("header")
        assert any("/ filter: ETH" in line for line in watched.picture())
        await watched.press("2")
        assert "2 rows" in watched.line("tabs")
        assert not any("/ filter:" in line for line in watched.picture())
        await watched.press("1")
        assert watched.keys_of_rows() == ["1 ethereum"]
        await watched.press("escape")
        assert len(watched.keys_of_rows()) == 3

    watch(story)


def test_keys_are_letters_while_a_filter_is_typed() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("slash", *"sq1 ?/")
        assert watched.table.sought == "sq1 ?/"
        assert any("No row with “sq1 ?/”." in line for line in watched.picture())
        await watched.press("escape", "escape")
        assert (watched.table.sought, watched.page.WHERE) == ("", "main")

    watch(story)


def test_escape_on_a_page_clears_the_filter_first() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("enter", "slash", *"window", "enter")
        assert watched.keys_of_rows() == ["1"]
        await watched.press("escape")
        assert (watched.keys_of_rows(), watched.page.WHERE) == (["2", "1"], "page")
        await watched.press("escape")
        assert watched.page.WHERE == "main"

    watch(story)


def test_a_click_chooses_a_tab() -> None:
    async def story(watched: Watched) -> None:
        for name, title in zip(NAMES, ["Batches", "Coins", "Limits", "Instances", "Flushes", "Events"], strict=True):
            await watched.pilot.click("#tabs", offset=(watched.line("tabs").index(title) + 2, 0))
            await watched.pilot.pause()
            assert watched.table.table.name == name

    watch(story)


def test_an_export_holds_the_rows_that_are_shown_in_their_order() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = [
            batch("bitcoin"),
            batch("bitcoin-cash"),
            batch("solana", flusher="=cmd|' /C calc'!A0"),
        ]
        await watched.see()
        await watched.press("slash", *"coin", "enter", "s", "S", "e")
        table = list(csv.DictReader(next(Path.cwd().glob("*.csv")).read_text().splitlines()))
        assert [row["coin_id"] for row in table] == ["bitcoin-cash", "bitcoin"]
        assert table[0]["price"] == "91204.11"
        rows = json.loads(next(Path.cwd().glob("*.json")).read_bytes())
        assert [row["coin_id"] for row in rows] == ["bitcoin-cash", "bitcoin"]
        assert rows[0]["requests_line"][:3] == [2, 3, 5]

    watch(story)


def test_a_name_that_a_spreadsheet_would_run_is_made_a_name() -> None:
    async def story(watched: Watched) -> None:
        watched.sample.caller_rows = [caller("=cmd|' /C calc'!A0")]
        await watched.press("3", "e")
        table = csv.DictReader(next(Path.cwd().glob("*.csv")).read_text().splitlines())
        assert next(table)["caller"] == "'=cmd|' /C calc'!A0"
        assert json.loads(next(Path.cwd().glob("*.json")).read_bytes())[0]["caller"] == "=cmd|' /C calc'!A0"

    watch(story)


def test_an_export_without_rows_and_one_that_cannot_be_written_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(watched: Watched) -> None:
        watched.sample.batch_rows = []
        await watched.see()
        await watched.press("e")
        assert watched.line("keys").startswith("✓ 0 rows in ")
        monkeypatch.setattr("pathlib.Path.cwd", lambda: Path("/nowhere"))
        await watched.press("e")
        assert watched.line("keys") == "! Not written: No such file or directory"

    watch(story)


def hostile(watched: Watched) -> None:
    sample = watched.sample
    sample.batch_rows = [batch(HOSTILE, flusher=HOSTILE, trigger=HOSTILE, price=HOSTILE, vs_currency=HOSTILE)]
    sample.coin_rows = [coin(HOSTILE, price=HOSTILE, vs_currency=HOSTILE)]
    sample.caller_rows = [caller(HOSTILE)]
    sample.instance_rows = [instance(HOSTILE)]
    sample.flush_rows = [
        flush(coins=[HOSTILE] * 99, instance=HOSTILE, trigger=HOSTILE, outcome=HOSTILE, reason=HOSTILE)
    ]
    sample.event_rows = [event(text=HOSTILE, kind=HOSTILE, instance=HOSTILE)]


@pytest.mark.parametrize("tab", "123456")
def test_names_that_mean_harm_are_shown_and_copied_as_harmless_text(tab: str) -> None:
    async def story(watched: Watched) -> None:
        hostile(watched)
        await watched.press(tab)
        await watched.see(Lost(HOSTILE))
        assert_sound(watched)
        assert any("[red]evil[/red]" in line for line in watched.picture())
        await watched.press("y")
        assert watched.app.clipboard.isprintable()
        await watched.press("enter")
        assert_sound(watched)
        assert all(line.isprintable() for line in watched.picture())

    watch(story)


@pytest.mark.parametrize("size", [(60, 20), (120, 40)])
def test_every_table_says_so_when_it_is_empty(size: tuple[int, int]) -> None:
    async def story(watched: Watched) -> None:
        sample = watched.sample
        sample.batch_rows = sample.coin_rows = sample.caller_rows = sample.instance_rows = []  # type: ignore[assignment]
        sample.flush_rows = sample.event_rows = []  # type: ignore[assignment]
        for tab in "123456":
            await watched.press(tab, "enter")
            assert watched.table.table.empty in "\n".join(watched.picture())
            assert_sound(watched)

    watch(story, size=size)


def test_the_help_scrolls_where_it_is_too_long_and_closes_by_escape() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("question_mark")
        before = watched.picture()
        await watched.press("pagedown", "down", "j", "up")
        assert watched.picture() != before
        await watched.press("escape")
        assert watched.app.screen is watched.page

    watch(story)


def test_keys_that_come_faster_than_pages_open_do_no_harm() -> None:
    async def story(watched: Watched) -> None:
        for key in (
            "enter",
            "s",
            "j",
            "y",
            "enter",
            "S",
            "slash",
            "escape",
            "escape",
            "e",
            "3",
            "tab",
            "enter",
            "G",
            "2",
        ) * 4:
            watched.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await watched.see()
        await watched.press("escape", "escape", "escape", "escape", "escape", "escape", "4")
        assert (watched.page.WHERE, watched.table.table.name) == ("main", "instances")

    watch(story)


def ends_after(*keys: str) -> Story:
    async def story(watched: Watched) -> None:
        await watched.press(*keys)
        assert watched.app._exit

    return story


@pytest.mark.parametrize("keys", [["enter", "q"], ["question_mark", "q"], ["slash", "ctrl+c"], ["ctrl+p", "ctrl+c"]])
def test_quitting_works_everywhere(keys: list[str]) -> None:
    watch(ends_after(*keys))
