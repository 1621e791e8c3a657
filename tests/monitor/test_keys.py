"""Every key of the table of keys does what the help says of it."""

from pathlib import Path

import pytest

from monitor.screens.help import HelpScreen, help_text
from monitor.screens.keys import KEYS, Key, in_footer, there
from monitor.screens.pages import CoinPage
from tests.monitor.conftest import Replay, Story, Watched, batch, watch

EVERYWHERE = frozenset({"", "main", "page", "replay"})


def with_rows(watched: Watched) -> None:
    watched.sample.batch_rows = [batch(f"coin-{nth:02}", waiting=nth % 4) for nth in range(40)]


def shows(name: str) -> Story:
    async def story(watched: Watched) -> None:
        assert watched.table.table.name == name

    return story


def selects(row: int) -> Story:
    async def story(watched: Watched) -> None:
        assert watched.table.cursor == row

    return story


def sorts(column: str, first: str, *, reverse: bool = False) -> Story:
    async def story(watched: Watched) -> None:
        assert (watched.table.order.column, watched.table.order.reverse) == (column, reverse)
        assert watched.keys_of_rows()[0] == first

    return story


def does(done: list[str]) -> Story:
    async def story(watched: Watched) -> None:
        assert isinstance(watched.source, Replay)
        assert watched.source.done == done

    return story


async def opens_the_coin(watched: Watched) -> None:
    assert isinstance(watched.page, CoinPage)


async def opens_the_filter(watched: Watched) -> None:
    await watched.press("0", "7")
    assert watched.keys_of_rows() == ["1 coin-07"]


async def has_no_filter(watched: Watched) -> None:
    assert (len(watched.keys_of_rows()), watched.page.query_one("FilterLine").display) == (40, False)


async def is_on_the_main_screen(watched: Watched) -> None:
    assert watched.app.screen is watched.page
    assert watched.page.WHERE == "main"


async def pauses(watched: Watched) -> None:
    assert "‖ PAUSED" in watched.line("header")


async def copies(watched: Watched) -> None:
    assert watched.app.clipboard.startswith("batch_id=b-coin-00 coin_id=coin-00 phase=open")
    assert watched.line("keys").startswith("✓ Copied: batch_id=b-coin-00")


async def exports(watched: Watched) -> None:
    assert len(list(Path.cwd().glob("cryptopulse-batches-*"))) == 2
    assert watched.line("keys").startswith("✓ 40 rows in cryptopulse-batches-")


async def opens_the_palette(watched: Watched) -> None:
    assert type(watched.app.screen).__name__ == "CommandPalette"


async def opens_the_help(watched: Watched) -> None:
    assert isinstance(watched.app.screen, HelpScreen)


async def quits(watched: Watched) -> None:
    assert watched.app._exit


# {(key, where): (keys pressed before it, what is so after it)}
PROMISES: dict[tuple[str, str], tuple[list[str], Story]] = {
    ("1", "main"): (["3"], shows("batches")),
    ("2", "main"): ([], shows("coins")),
    ("3", "main"): ([], shows("limits")),
    ("4", "main"): ([], shows("instances")),
    ("5", "main"): ([], shows("flushes")),
    ("6", "main"): ([], shows("events")),
    ("tab", "main"): (["6"], shows("batches")),
    ("shift+tab", "main"): ([], shows("events")),
    ("enter", ""): ([], opens_the_coin),
    ("escape", "page"): (["enter"], is_on_the_main_screen),
    ("escape", "main"): (["slash", "0", "7"], has_no_filter),
    ("up", ""): (["down", "down"], selects(1)),
    ("k", ""): (["down", "down"], selects(1)),
    ("down", ""): ([], selects(1)),
    ("j", ""): ([], selects(1)),
    ("pageup", ""): (["pagedown", "pagedown"], selects(9)),
    ("pagedown", ""): ([], selects(9)),
    ("home", ""): (["end"], selects(0)),
    ("g", ""): (["end"], selects(0)),
    ("end", ""): ([], selects(39)),
    ("G", ""): ([], selects(39)),
    ("s", ""): (["s"], sorts("WAITING", "1 coin-03")),
    ("S", ""): (["s"], sorts("COIN", "1 coin-39", reverse=True)),
    ("slash", ""): ([], opens_the_filter),
    ("y", ""): ([], copies),
    ("e", ""): ([], exports),
    ("space", ""): ([], pauses),
    ("comma", "replay"): ([], does(["paused True", "seek 11.75"])),
    ("full_stop", "replay"): ([], does(["step 1"])),
    ("less_than_sign", "replay"): ([], does(["seek 2"])),
    ("greater_than_sign", "replay"): ([], does(["seek 22"])),
    ("ctrl+p", ""): ([], opens_the_palette),
    ("question_mark", ""): ([], opens_the_help),
    ("q", ""): ([], quits),
    ("ctrl+c", ""): ([], quits),
}


def names(key: Key) -> list[tuple[str, str]]:
    return [(name, key.where) for name in key.keys.split(",")]


def test_every_key_has_a_test() -> None:
    assert set(PROMISES) == {name for key in KEYS for name in names(key)}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: f"{promise[0]} {promise[1]}".strip())
def test_each_key_does_what_the_help_says(promise: tuple[str, str]) -> None:
    before, kept = PROMISES[promise]

    async def story(watched: Watched) -> None:
        with_rows(watched)
        await watched.see()
        await watched.press(*before)
        await watched.press(promise[0])
        await kept(watched)

    watch(story, source=Replay() if promise[1] == "replay" else None)


def test_the_help_tells_of_every_key() -> None:
    told = help_text(EVERYWHERE).plain
    assert [key for key in KEYS if f" {key.shown:<11}{key.says}\n" not in told] == []


def test_the_keys_of_a_replay_are_shown_only_in_one() -> None:
    live = in_footer(frozenset({"", "main"}), 200)
    replay = in_footer(frozenset({"", "main", "replay"}), 200)
    assert [text for _, text in replay if text not in {text for _, text in live}] == [", . step", "< > seek"]


def test_the_keys_of_a_replay_do_nothing_without_one() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("comma", "full_stop", "less_than_sign", "greater_than_sign")
        assert "▶ LIVE" in watched.line("header")

    watch(story)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_narrow_footer_keeps_help_and_quit(width: int) -> None:
    texts = [text for _, text in in_footer(EVERYWHERE, width)]
    assert texts[-2:] == ["? help", "q quit"]
    assert sum(len(text) + 2 for text in texts) <= width


def test_no_two_keys_are_bound_to_the_same_at_one_place() -> None:
    for place in ("main", "page"):
        bound = [name for key in there(frozenset({"", place, "replay"})) for name, _ in names(key)]
        assert len(bound) == len(set(bound))


def test_the_palette_runs_a_command() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("ctrl+p", *"show callers")
        await watched.pilot.pause(0.3)
        await watched.press("enter")
        await watched.pilot.pause(0.1)
        assert watched.table.table.name == "limits"

    watch(story)


def test_the_palette_has_every_key_by_name_and_sorts_by_every_column() -> None:
    async def story(watched: Watched) -> None:
        commands = {command.title for command in watched.app.get_system_commands(watched.page)}
        expected = {key.says for key in there(frozenset({"", "main"})) if key.action != "app.command_palette"}
        columns = {f"Sort by {column.title}" for column in watched.table.table.columns}
        assert commands == expected | columns

    watch(story)


def test_a_click_on_the_footer_is_as_good_as_the_key() -> None:
    async def story(watched: Watched) -> None:
        await watched.pilot.click("#keys", offset=(watched.line("keys").index("pause") + 1, 0))
        await watched.see()
        assert "‖ PAUSED" in watched.line("header")

    watch(story)


def test_what_a_key_did_is_told_for_some_seconds_and_then_the_keys_are_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.widgets.key_bar._SAID_FOR_S", 0.6)

    async def story(watched: Watched) -> None:
        keys = watched.line("keys")
        await watched.press("y")
        assert watched.line("keys") != keys
        await watched.pilot.pause(0.7)
        assert watched.line("keys") == keys

    watch(story)
