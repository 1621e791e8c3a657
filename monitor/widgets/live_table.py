"""A table that follows its data and stays still under the reader's eye.

Only the lines on the screen are made into text, and of those only the ones that changed are painted: five thousand rows
cost no more than fifty, but for their sorting.
"""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from monitor.tables import Table
from monitor.text import ACCENT, QUIET, WARN, Part, clean, padded
from monitor.widgets.arrange import GAP, Laid, Sort, arranged, clicked_sort, column_at, fitted, next_sort

Row = TypeVar("Row")

_MARKS = 3  # the cells before the first column: the cursor, and whether a row needs a look


class LiveTable(ScrollView, Generic[Row], can_focus=False):
    """Rows are known by key: a selection keeps its row, and its line on the screen, whatever comes and goes."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"live-table--cursor"}

    class Opened(Message):
        """A row was double-clicked."""

    class Sorted(Message):
        """Another order was chosen."""

        def __init__(self, name: str, sort: Sort) -> None:
            super().__init__()
            self.table_name = name
            self.sort = sort

    def __init__(self, table: Table[Row], *, sort: Sort | None = None, widget_id: str) -> None:
        super().__init__(id=widget_id)
        self.table = table
        self.order = sort or Sort()
        self.sought = ""
        self.cursor = 0
        self.shown: list[Row] = []
        self.painted = 0  # lines painted so far, for tests
        self._rows: Sequence[Row] = ()
        self._places: dict[str, int] = {}  # {row key: index in shown}
        self._chosen: str | None = None  # the key of the row that the reader chose
        self._line = 0  # the line of the screen on which it was chosen
        self._laid: Laid = []
        self._laid_for = 0  # the width
        self._lines: list[Strip] = []

    @property
    def in_all(self) -> int:
        """The number of rows with those that the filter hides."""
        return len(self._rows)

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        return self.shown[self.cursor] if self.cursor < len(self.shown) else None

    def show(self, rows: Sequence[Row]) -> None:
        """Make these the rows."""
        self._rows = rows
        self._arrange()

    def seek(self, sought: str) -> None:
        """Show only the rows in which this occurs."""
        self.sought = sought
        self._arrange()

    def sort_by(self, sort: Sort) -> None:
        """Show the rows in this order, and tell that it was chosen."""
        self.order = sort
        self._arrange()
        self.post_message(self.Sorted(self.table.name, sort))

    def sort_next(self) -> None:
        """Sort by the next column."""
        self.sort_by(next_sort(self._laid, self.order))

    def sort_reversed(self) -> None:
        """Sort the other way round."""
        self.sort_by(Sort(self.order.column, not self.order.reverse))

    def move(self, by: int) -> None:
        """Choose the row this many lines further down."""
        self.choose(self.cursor + by)

    def choose(self, index: int) -> None:
        """Choose this row, or the nearest there is, and bring it into sight."""
        if not self.shown:
            return
        self.cursor = min(max(0, index), len(self.shown) - 1)
        follows = self.table.newest_first and self.cursor == 0
        self._chosen = None if follows else self.table.key(self.shown[self.cursor])
        first = min(self._first, self.cursor)
        self._scroll(max(first, self.cursor - self.page + 1))
        self._line = self.cursor - self._first
        self._paint()

    @property
    def page(self) -> int:
        """The number of rows on the screen."""
        return max(1, self.scrollable_content_region.height - 1)

    @property
    def _first(self) -> int:
        return self.scroll_offset.y

    # Rows change

    def _arrange(self) -> None:
        """Put the rows in order, and what the reader looks at back into its place."""
        anchors = self._anchors()
        self.shown = arranged(self.table, self._rows, self.order, self.sought)
        key = self.table.key
        self._places = {key(row): index for index, row in enumerate(self.shown)}
        self._place_cursor()
        self.virtual_size = Size(self.virtual_size.width, len(self.shown) + 1)
        for anchor, line in anchors:
            if anchor in self._places:
                self._scroll(self._places[anchor] - line)
                break
        self._paint()

    def _anchors(self) -> list[tuple[str, int]]:
        """The rows that should stay on their lines, the first that is still there counts."""
        line = self.cursor - self._first
        if self._chosen is not None and 0 <= line < self.page:
            on_cursor = self.table.key(self.shown[self.cursor]) if self.shown else ""
            return [(self._chosen, self._line), (on_cursor, line)]
        if self._first and self._first < len(self.shown):
            return [(self.table.key(self.shown[self._first]), 0)]
        return []

    def _place_cursor(self) -> None:
        """On the chosen row; while it is away, where it was."""
        if self._chosen is None:
            self.cursor = 0
        else:
            self.cursor = self._places.get(self._chosen, min(self.cursor, max(0, len(self.shown) - 1)))

    def _scroll(self, first: int) -> None:
        if first != self._first:
            self.scroll_to(y=first, animate=False, force=True)

    # Mouse

    def on_click(self, event: events.Click) -> None:
        """Sort by a header, choose a row; open it when it is clicked twice."""
        self.screen.set_focus(None)
        place = event.get_content_offset(self)
        if place is None:
            return
        if place.y == 0:
            title = column_at(self._laid, place.x - _MARKS)
            if title:
                self.sort_by(clicked_sort(self.order, title))
        elif (index := self._first + place.y - 1) < len(self.shown):
            self.choose(index)
            if event.chain == 2:  # noqa: PLR2004 -- a double click
                self.post_message(self.Opened())

    # Painting

    def on_resize(self) -> None:
        """Other columns, other lines; the cursor stays in sight."""
        if self._chosen is not None and self.cursor - self._first >= self.page:
            self._scroll(self.cursor - self.page + 1)
        self._paint()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Other rows are in sight."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._paint()

    def render_line(self, y: int) -> Strip:
        """What was made for this line."""
        return self._lines[y] if y < len(self._lines) else Strip.blank(self.size.width, self.rich_style)

    def _paint(self) -> None:
        """Make the lines in sight anew, and have those painted that differ from what is there."""
        if not self.is_attached:
            return
        width, height = self.scrollable_content_region.size
        if width != self._laid_for:
            self._laid, self._laid_for = fitted(self.table.columns, width - _MARKS - 1), width
        lines = self._made(height)
        changed = [y for y, line in enumerate(lines) if y >= len(self._lines) or self._lines[y] != line]
        whole = len(lines) != len(self._lines)
        self._lines = lines
        self.painted += len(changed)
        if whole:
            self.refresh()
        elif changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _made(self, height: int) -> list[Strip]:
        first = self._first
        rows = self.shown[first : first + height - 1]
        lines = [self._header(), *(self._strip(row, first + index) for index, row in enumerate(rows))]
        if not self.shown:
            lines.append(self._nothing())
        blank = Strip.blank(self.scrollable_content_region.width, self.rich_style)
        return [*lines, *[blank] * (height - len(lines))][:height]

    def _header(self) -> Strip:
        """The titles; an arrow behind the one sorted by, in the gap if need be."""
        parts: list[Part] = [(" " * _MARKS, "")]
        for column, width in self._laid:
            sign = "" if column.title != self.order.column else "↓" if column.right != self.order.reverse else "↑"
            title = column.title.rjust(width) if column.right else column.title
            parts.append((f"{title}{sign}".ljust(width + GAP), ACCENT if sign else QUIET))
        return self._line_of(parts, Style.null())

    def _strip(self, row: Row, index: int) -> Strip:
        on_cursor = index == self.cursor
        marks = (
            ("▸" if on_cursor else " ", f"bold {ACCENT}"),
            ("!" if self.table.alarm(row) else " ", f"bold {WARN}"),
            (" ", ""),
        )
        parts: list[Part] = [*marks]
        for column, width in self._laid:
            parts += padded(column.cell(row), width, right=column.right)
            parts.append((" " * GAP, ""))
        return self._line_of(parts, self.get_component_rich_style("live-table--cursor") if on_cursor else Style.null())

    def _line_of(self, parts: Sequence[Part], under: Style) -> Strip:
        under = self.rich_style + under
        segments = [Segment(text, under + Style.parse(style)) for text, style in parts if text]
        return Strip(segments).adjust_cell_length(self.scrollable_content_region.width, under)

    def _nothing(self) -> Strip:
        """Why there is no row."""
        text = f"No row with “{clean(self.sought)}”." if self.sought and self._rows else self.table.empty
        return self._line_of([(" " * _MARKS, ""), (text, QUIET)], Style.null())
