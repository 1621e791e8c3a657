"""What the keys do, made from their table, and what words and signs mean."""

from itertools import groupby
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from monitor.lines import joined
from monitor.screens.keys import bindings, there
from monitor.text import ACCENT, QUIET, Cell

_WORDS = (
    ("batch", "requests for one coin that one upstream call answers"),
    ("waiting", "requests that wait now / how many make it flush at once"),
    ("flusher", "the instance that claimed the batch, and calls CoinGecko"),
    ("trigger", "why it is flushed: enough wait, time is up, or it rides along"),
    ("takeover", "its flusher fell silent, and another one does it"),
    ("overdue", "its time is up, but no call is permitted yet"),
    ("kept", "until Postgres had its prices"),
    ("outbox", "prices that Postgres does not have yet"),
    ("lag", "how late the instance's loop woke, at worst"),
)
_SIGNS = (
    ("▸", "the row that keys are for"),
    ("!", "look here"),
    ("● ○ ◐", "up, silent for some seconds, draining"),
    ("■ ✗", "stopped; gone, failed, over its limit"),
    ("▲ ▼", "the price went up, down"),
    ("↑ ↓", "sorted by this column"),
)


class HelpScreen(ModalScreen[None], inherit_bindings=False):
    """Closes by the key that opened it."""

    AUTO_FOCUS = ""

    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("app.help", "back", "app.quit", "move(-1)", "move(1)", "move_page(-1)", "move_page(1)"),
    ]

    def __init__(self, places: frozenset[str]) -> None:
        super().__init__()
        self._places = places

    def compose(self) -> ComposeResult:
        """One text, that scrolls where it is too long."""
        with VerticalScroll(id="help", can_focus=False) as box:
            box.border_title = "Help"
            box.border_subtitle = "↑ ↓ read on   ? close"
            yield Static(help_text(self._places))

    def action_back(self) -> None:
        """Close it."""
        self.dismiss()

    def action_move(self, by: int) -> None:
        """Read on."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)

    def action_move_page(self, by: int) -> None:
        """Read on, a page."""
        self.query_one(VerticalScroll).scroll_relative(y=by * (self.size.height - 4), animate=False)


def help_text(places: frozenset[str]) -> Text:
    """Every key that does something here, then words and signs."""
    text: list[Cell] = []
    for group, keys in groupby(there(places), key=lambda key: key.group):
        text += _section(group, [(key.shown, key.says) for key in keys])
    text += _section("Words", _WORDS)
    text += _section("Signs", _SIGNS)
    return joined(text[:-1])


def _section(title: str, pairs: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> list[Cell]:
    lines: list[Cell] = [((f" {shown:<11}", ACCENT), (says, "")) for shown, says in pairs]
    return [((title, f"bold {QUIET}"),), *lines, (("", ""),)]
