"""Every key, once: bindings, help, footer and palette are all made from this table."""

from typing import Literal, NamedTuple

from textual.binding import Binding

Where = Literal["", "main", "page", "replay"]  # "": everywhere


class Key(NamedTuple):
    """One thing that keys do."""

    keys: str  # as Textual names them, with commas between
    shown: str
    action: str
    label: str  # in the footer
    says: str  # in the help and in the palette
    group: str
    where: Where = ""
    rank: int | None = None  # in the footer; the highest is the first to go when there is no room


LOOK = "Looking around"
ORDER = "Order and choice"
TIME = "Time"
REST = "The rest"

KEYS = (
    Key("1", "1", "tab('batches')", "", "Show batches", LOOK, "main"),
    Key("2", "2", "tab('coins')", "", "Show coins", LOOK, "main"),
    Key("3", "3", "tab('limits')", "", "Show callers and their limits", LOOK, "main"),
    Key("4", "4", "tab('instances')", "", "Show instances", LOOK, "main"),
    Key("5", "5", "tab('flushes')", "", "Show flushes", LOOK, "main"),
    Key("6", "6", "tab('events')", "", "Show events", LOOK, "main"),
    Key("tab", "tab", "next_tab(1)", "", "Next table", LOOK, "main"),
    Key("shift+tab", "shift+tab", "next_tab(-1)", "", "Previous table", LOOK, "main"),
    Key("enter", "enter", "open", "open", "Open the row", LOOK, rank=2),
    Key("escape", "esc", "back", "back", "Clear the filter, or go back", LOOK, "page", rank=1),
    Key("escape", "esc", "back", "", "Clear the filter", LOOK, "main"),
    Key("up,k", "↑ k", "move(-1)", "", "Row above", LOOK),
    Key("down,j", "↓ j", "move(1)", "", "Row below", LOOK),
    Key("pageup", "pgup", "move_page(-1)", "", "Page up", LOOK),
    Key("pagedown", "pgdn", "move_page(1)", "", "Page down", LOOK),
    Key("home,g", "home g", "first", "", "First row", LOOK),
    Key("end,G", "end G", "last", "", "Last row", LOOK),
    Key("s", "s", "sort", "sort", "Sort by the next column", ORDER, rank=5),
    Key("S", "S", "sort_reversed", "", "Sort the other way round", ORDER),
    Key("slash", "/", "filter", "filter", "Show only rows with a text", ORDER, rank=4),
    Key("y", "y", "copy", "copy", "Copy the row to the clipboard", ORDER, rank=8),
    Key("e", "e", "export", "export", "Write the table as CSV and JSON here", ORDER, rank=9),
    Key("space", "space", "app.pause", "pause", "Hold the picture, or let it go on", TIME, rank=3),
    Key("comma", ",", "app.step(-1)", "", "A moment back", TIME, "replay"),
    Key("full_stop", ".", "app.step(1)", "step", "One message on", TIME, "replay", rank=6),
    Key("less_than_sign", "<", "app.seek(-10)", "", "10 s back", TIME, "replay"),
    Key("greater_than_sign", ">", "app.seek(10)", "seek", "10 s on", TIME, "replay", rank=7),
    Key("ctrl+p", "^p", "app.command_palette", "palette", "All of this by name", REST, rank=10),
    Key("question_mark", "?", "app.help", "help", "Help", REST, rank=0),
    Key("q,ctrl+c", "q", "app.quit", "quit", "Quit", REST, rank=0),
)

# Two keys that share one word in the footer: the second shows both.
_PAIRS = {".": ", .", ">": "< >"}


def bindings(*actions: str) -> list[Binding]:
    """The keys as Textual takes them; without actions, all of them."""
    chosen = [key for key in KEYS if not actions or key.action in actions]
    once = {(key.keys, key.action): key for key in chosen}.values()
    return [Binding(key.keys, key.action, key.says, show=False) for key in once]


def there(places: frozenset[str]) -> list[Key]:
    """The keys that do something at these places."""
    return [key for key in KEYS if key.where in places]


def in_footer(places: frozenset[str], width: int) -> list[tuple[Key, str]]:
    """The keys for which the footer has room, each with its text."""
    texts = [(key, f"{_PAIRS.get(key.shown, key.shown)} {key.label}") for key in there(places) if key.rank is not None]
    while texts and sum(len(text) + 2 for _, text in texts) > width:
        texts.remove(max(texts, key=lambda pair: pair[0].rank or 0))
    return texts
