"""What was chosen is there in the next run; a file that is broken harms nothing."""

import os
from pathlib import Path

import pytest

from monitor.remembered import Chosen, default_path, load, save
from monitor.widgets.arrange import Sort
from tests.monitor.conftest import Watched, watch

CHOSEN = Chosen(tab="coins", sorts={"coins": Sort("WAITING", reverse=True)})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "new" / "monitor.json", CHOSEN)
    assert load(tmp_path / "new" / "monitor.json") == CHOSEN
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["monitor.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"tab": 3}', b"\xff\xfe", b'{"sorts": {"a": 1}}', b"[" * 99_999]
)
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "monitor.json"
    path.write_bytes(content)
    assert load(path) == Chosen()


def test_a_folder_that_cannot_be_made_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    save(tmp_path / "file" / "monitor.json", CHOSEN)
    assert load(tmp_path / "file" / "monitor.json") == Chosen()


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/anna"}, "/state/cryptopulse/monitor.json"),
        ({"HOME": "/home/anna"}, "/home/anna/.local/state/cryptopulse/monitor.json"),
        ({"XDG_STATE_HOME": "", "HOME": "/home/anna"}, "/home/anna/.local/state/cryptopulse/monitor.json"),
        ({"XDG_STATE_HOME": "not/absolute", "HOME": "/home/anna"}, "/home/anna/.local/state/cryptopulse/monitor.json"),
    ],
)
def test_it_is_kept_where_the_desktop_says(environment: dict[str, str], path: str) -> None:
    assert default_path(environment) == Path(path)


def test_tab_and_order_are_there_in_the_next_run() -> None:
    async def first(watched: Watched) -> None:
        await watched.press("4", "s", "s", "S", "2", "s")

    async def second(watched: Watched) -> None:
        assert watched.table.table.name == "coins"
        assert watched.table.order == Sort("COIN")
        await watched.press("4")
        assert watched.table.order == Sort("STATE", reverse=True)

    watch(first)
    watch(second)


def test_a_device_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    save(pipe, Chosen(tab="coins"))
    assert pipe.is_fifo()


def test_the_order_of_a_page_is_remembered_too() -> None:
    async def first(watched: Watched) -> None:
        await watched.press("enter", "s")

    async def second(watched: Watched) -> None:
        await watched.press("enter")
        assert watched.table.order == Sort("TIME")

    watch(first)
    watch(second)


def test_a_tab_and_a_column_that_are_no_more_are_no_trouble() -> None:
    save(default_path(), Chosen(tab="gone", sorts={"batches": Sort("GONE")}))

    async def story(watched: Watched) -> None:
        assert watched.table.table.name == "batches"
        assert watched.keys_of_rows() == ["1 bitcoin", "1 ethereum", "1 solana"]
        await watched.press("s")
        assert watched.table.order == Sort("COIN")

    watch(story)


def test_nothing_that_was_heard_is_remembered() -> None:
    async def story(watched: Watched) -> None:
        await watched.press("s", "slash", *"bit", "enter", "enter", "escape", "3")
        told = default_path().read_text()
        assert "bit" not in told
        assert "anna" not in told

    watch(story)
