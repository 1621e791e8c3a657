"""The line of tabs above the table, and how many rows it has."""

from collections.abc import Sequence

from rich.text import Text
from textual import events
from textual.message import Message

from monitor.lines import joined
from monitor.text import ACCENT, QUIET, Part, number
from monitor.widgets.drawn import Drawn


class Tabs(Drawn):
    """Their numbers are keys; a click chooses one too."""

    class Chosen(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, titles: Sequence[str], *, widget_id: str) -> None:
        super().__init__(widget_id=widget_id)
        self._titles = titles
        self._ends: list[int] = []

    def tell(self, active: int, shown: int, in_all: int) -> None:
        """Mark the active tab, and count its rows."""
        self.show(lambda width: self._drawn(active, shown, in_all, width))

    def on_click(self, event: events.Click) -> None:
        """Choose the tab that was clicked."""
        place = event.get_content_offset(self)
        if place is not None:
            index = next((index for index, end in enumerate(self._ends) if place.x < end), None)
            if index is not None:
                self.post_message(self.Chosen(index))

    def _drawn(self, active: int, shown: int, in_all: int, width: int) -> Text:
        gap = 2 if width >= sum(len(title) + 4 for title in self._titles) else 1
        parts: list[Part] = []
        self._ends = []
        end = 0
        for index, title in enumerate(self._titles):
            parts += self._tab(index + 1, title, is_active=index == active)
            parts.append((" " * gap, ""))
            end += len(title) + 2 + gap
            self._ends.append(end)
        count = _count(shown, in_all)
        if end + len(count) <= width:
            parts.append((count.rjust(width - end), QUIET))
        return joined([tuple(parts)])

    @staticmethod
    def _tab(nth: int, title: str, *, is_active: bool) -> list[Part]:
        style = f"bold underline {ACCENT}" if is_active else ""
        return [(f"{nth}", f"bold {ACCENT}" if is_active else QUIET), (" ", ""), (title, style)]


def _count(shown: int, in_all: int) -> str:
    rows = "row" if in_all == 1 else "rows"
    return f"{number(in_all)} {rows}" if shown == in_all else f"{number(shown)} of {number(in_all)} {rows}"
