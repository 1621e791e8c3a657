"""The main screen: boxes, six tables behind tabs, the latest events."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from rich.text import Text
from textual.containers import Container
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from monitor import lines
from monitor.rows import EventRow
from monitor.screens.page import Page
from monitor.screens.picture import Desk, Picture
from monitor.tables import TABS
from monitor.text import QUIET, Cell
from monitor.widgets.drawn import Drawn
from monitor.widgets.filter_line import FilterLine
from monitor.widgets.live_table import LiveTable
from monitor.widgets.tabs import Tabs

NAMES = tuple(table.name for table in TABS)
_ROWS: dict[str, Callable[[Picture], Sequence[Any]]] = {
    "batches": lambda picture: picture.batches(),
    "coins": lambda picture: picture.coins(),
    "limits": lambda picture: picture.callers(),
    "instances": lambda picture: picture.instances(),
    "flushes": lambda picture: picture.flushes(),
    "events": lambda picture: picture.events(),
}


class MainScreen(Page):
    """What there is to see at a glance."""

    WHERE = "main"

    def __init__(self, desk: Desk, tab: str) -> None:
        super().__init__(desk)
        self._tab = tab if tab in NAMES else NAMES[0]

    def content(self) -> Iterable[Widget]:
        """Boxes, tabs, tables, events."""
        yield Container(
            Drawn(widget_id="budget", title="Upstream budget", classes="box"),
            Drawn(widget_id="saving", title="Saving (5 min)", classes="box"),
            Drawn(widget_id="latency", title="Latency (5 min)", classes="box"),
            id="boxes",
        )
        yield Tabs([table.title for table in TABS], widget_id="tabs")
        yield FilterLine()
        yield ContentSwitcher(*(self.table_of(table) for table in TABS), initial=self._tab)
        yield Drawn(widget_id="strip", title="Events", classes="box")

    @property
    def table(self) -> LiveTable[Any]:
        """The table of the tab."""
        return self.query_one(f"#{self._tab}", LiveTable)

    def show(self, picture: Picture) -> None:
        """Fill boxes, table and events."""
        self._show_boxes(picture)
        self.table.show(_ROWS[self._tab](picture))
        self.filtered()
        strip = self.drawn("strip")
        strip.display = self._tab != "events"
        if strip.display:
            strip.show(partial(_latest, picture.events()[:_MOST_EVENTS], strip))

    def _show_boxes(self, picture: Picture) -> None:
        budget, saving, latency = picture.budget(), picture.saving(), picture.latency()
        if self.small:
            self._say("budget", lambda _width: [lines.budget_line(budget)])
            self._say("saving", lambda _width: [lines.saving_line(saving)])
            self._say("latency", lambda _width: [lines.latency_line(latency)])
        else:
            self._say("budget", partial(lines.budget, budget))
            self._say("saving", partial(lines.saving, saving))
            self._say("latency", partial(lines.latency, latency))

    def _say(self, widget_id: str, draw: Callable[[int], list[Cell]]) -> None:
        self.drawn(widget_id).show(lambda width: lines.joined(draw(width)))

    def filtered(self) -> None:
        """Count the rows."""
        self.query_one(Tabs).tell(NAMES.index(self._tab), len(self.table.shown), self.table.in_all)

    # Tabs

    def action_tab(self, tab: str) -> None:
        """Show another table; each keeps its own filter and selection."""
        self._tab = tab
        self.query_one(ContentSwitcher).current = tab
        self.query_one(FilterLine).settle(self.table.sought)
        self.desk.choose_tab(tab)
        self.paint()

    def action_next_tab(self, by: int) -> None:
        """Show the next table, or the one before."""
        self.action_tab(NAMES[(NAMES.index(self._tab) + by) % len(NAMES)])

    def on_tabs_chosen(self, told: Tabs.Chosen) -> None:
        """A click is as good as the key."""
        self.action_tab(NAMES[told.index])


_MOST_EVENTS = 20


def _latest(rows: Sequence[EventRow], strip: Drawn, width: int) -> Text:
    """As many events as there is room for, the newest first."""
    height = max(1, strip.content_size.height)
    if not rows:
        return lines.joined([(("Nothing happened yet.", QUIET),)])
    return lines.joined(lines.event(row, width) for row in rows[:height])
