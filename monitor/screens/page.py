"""What all screens share: header and banner above, one table, the keys below, and what the keys do."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from monitor import lines
from monitor.screens.export import export, one_line
from monitor.screens.keys import bindings
from monitor.screens.picture import Desk, Picture
from monitor.tables import Table
from monitor.widgets.drawn import Drawn
from monitor.widgets.filter_line import FilterLine
from monitor.widgets.key_bar import KeyBar
from monitor.widgets.live_table import LiveTable

_LOW = 24  # lines; below that boxes are single lines
_NARROW = 78  # columns, likewise
_WIDE = 100  # columns; below that boxes have no padding


class Page(Screen[None], inherit_bindings=False):
    """One screen over what the desk has."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings()]
    AUTO_FOCUS = ""
    WHERE = "page"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk

    # What a screen is made of

    def compose(self) -> ComposeResult:
        """Header, banner, what the screen is about, keys."""
        yield Drawn(widget_id="header")
        yield Drawn(widget_id="banner")
        with Vertical(id="body"):
            yield from self.content()
        yield KeyBar(self.places, widget_id="keys")

    def content(self) -> Iterable[Widget]:
        """What stands between banner and keys."""
        raise NotImplementedError

    def show(self, picture: Picture) -> None:
        """Fill the content."""
        raise NotImplementedError

    @property
    def table(self) -> LiveTable[Any]:
        """The table that keys are for."""
        return self.query_one(LiveTable)

    def table_of(self, table: Table[Any]) -> LiveTable[Any]:
        """A table in the order that was chosen for it."""
        return LiveTable(table, sort=self.desk.sort_of(table.name), widget_id=table.name)

    def places(self) -> frozenset[str]:
        """For which keys this is the place."""
        return self.desk.places | {"", self.WHERE}

    # Painting

    def paint(self) -> None:
        """Show how things are now."""
        if not self.is_mounted:
            return
        heading = self.desk.heading()
        known = heading.header
        draw = partial(lines.header, known, paused=heading.paused, at_ms=heading.at_ms, played=heading.played)
        self.drawn("header").show(lambda width: draw(width=width))
        lost = known.link == "lost"
        self.drawn("banner").show(lambda _width: lines.banner(known))
        self.drawn("banner").display = lost
        self.query_one("#body").set_class(lost, "stale")
        self.show(self.desk.picture())

    def drawn(self, widget_id: str) -> Drawn:
        """A drawn widget by its name."""
        return self.query_one(f"#{widget_id}", Drawn)

    @property
    def small(self) -> bool:
        """Whether boxes must do with single lines."""
        return self.app.size.width < _NARROW or self.app.size.height < _LOW

    @property
    def moves(self) -> bool:
        """Whether there are times on the screen that go on by themselves."""
        return self.is_mounted and self.table.table.moves and bool(self.table.shown)

    def on_resize(self) -> None:
        """Boxes or lines."""
        self.set_class(self.small, "small")
        self.set_class(self.app.size.width < _WIDE, "narrow")
        self.call_after_refresh(self.desk.paint)

    def on_screen_resume(self) -> None:
        """Nothing was painted while another screen lay above."""
        self.call_after_refresh(self.desk.paint)

    def say(self, text: str, *, well: bool = True) -> None:
        """Tell what a key did."""
        self.query_one(KeyBar).say(text, well=well)

    # What keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tabs are for the main screen; a page that is not there yet takes no keys, however fast they come."""
        is_here = self.WHERE == "main" or action not in {"tab", "next_tab"}
        return self.is_mounted and is_here and super().check_action(action, parameters)

    def action_move(self, by: int) -> None:
        """Choose another row."""
        self.table.move(by)

    def action_move_page(self, by: int) -> None:
        """Choose a row a page away."""
        self.table.move(by * self.table.page)

    def action_first(self) -> None:
        """Choose the first row."""
        self.table.choose(0)

    def action_last(self) -> None:
        """Choose the last row."""
        self.table.choose(len(self.table.shown) - 1)

    def action_open(self) -> None:
        """Open the row, or let the filter be."""
        if isinstance(self.focused, Input):
            self._filter_line.settle(self.table.sought)
        elif self.table.selected is not None:
            self.desk.open(self.table.selected)

    def action_back(self) -> None:
        """Clear the filter; without one, go back."""
        if self._filter_line.display:
            self.table.seek("")
            self._filter_line.settle("")
            self.paint()
        elif self.WHERE == "page":
            self.dismiss()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self.table.sort_next()

    def action_sort_reversed(self) -> None:
        """Sort the other way round."""
        self.table.sort_reversed()

    def action_filter(self) -> None:
        """Let a filter be typed."""
        self._filter_line.open(self.table.sought)

    def action_copy(self) -> None:
        """Copy the row."""
        row = self.table.selected
        if row is None:
            self.say("There is no row to copy.", well=False)
            return
        self.app.copy_to_clipboard(one_line(row))
        self.say(f"Copied: {one_line(row)}")

    def action_export(self) -> None:
        """Write the table, as it is shown, into two files."""
        try:
            names = export(Path.cwd(), self.table.table.name, self.table.shown)
        except OSError as error:
            self.say(f"Not written: {error.strerror or type(error).__name__}", well=False)
        else:
            self.say(f"{len(self.table.shown)} rows in {' and '.join(names)}")

    # What widgets tell

    def on_live_table_opened(self) -> None:
        """A double click is as good as enter."""
        self.action_open()

    def on_live_table_sorted(self, told: LiveTable.Sorted) -> None:
        """Orders are remembered."""
        self.desk.choose_sort(told.table_name, told.sort)

    def on_input_changed(self, told: Input.Changed) -> None:
        """Filter while it is typed."""
        self.table.seek(told.value)
        self.filtered()

    def on_input_submitted(self) -> None:
        """The keys are the table's again."""
        self._filter_line.settle(self.table.sought)

    def filtered(self) -> None:
        """The table shows other rows."""

    @property
    def _filter_line(self) -> FilterLine:
        return self.query_one(FilterLine)
