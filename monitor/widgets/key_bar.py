"""The last line: the keys there are, and for a moment what a key did."""

from collections.abc import Callable
from functools import partial

from rich.text import Text
from textual import events

from monitor.lines import joined
from monitor.screens.keys import in_footer
from monitor.text import ACCENT, GOOD, QUIET, WARN, Part, clean
from monitor.widgets.drawn import Drawn

_SAID_FOR_S = 4.0


class KeyBar(Drawn):
    """As many keys as there is room for; a click is as good as the key."""

    def __init__(self, places: Callable[[], frozenset[str]], *, widget_id: str) -> None:
        super().__init__(widget_id=widget_id)
        self._places = places
        self._ends: list[tuple[int, str]] = []  # where each key's text ends, and the key
        self._words = 0  # said so far

    def on_mount(self) -> None:
        """Show the keys."""
        self.show(self._keys)

    def say(self, text: str, *, well: bool = True) -> None:
        """Tell for a few seconds what a key did."""
        sign, style = ("✓", GOOD) if well else ("!", WARN)
        self._ends = []
        self._words += 1
        self.set_timer(_SAID_FOR_S, partial(self._be_silent, self._words))
        self.show(lambda _width: joined([((f"{sign} ", f"bold {style}"), (clean(text), ""))]))

    def _be_silent(self, word: int) -> None:
        """Show the keys again, unless something else was said meanwhile."""
        if word == self._words:
            self.show(self._keys)

    def on_click(self, event: events.Click) -> None:
        """Do what the key under the pointer does."""
        place = event.get_content_offset(self)
        if place is not None:
            key = next((key for end, key in self._ends if place.x < end), None)
            if key is not None:
                self.app.simulate_key(key)

    def _keys(self, width: int) -> Text:
        parts: list[Part] = []
        self._ends = []
        end = 0
        for key, text in in_footer(self._places(), width):
            shown = text.removesuffix(key.label)
            parts += [(shown, f"bold {ACCENT}"), (key.label, QUIET), ("  ", "")]
            end += len(text) + 2
            self._ends.append((end, key.keys.split(",")[0]))
        return joined([tuple(parts)])
