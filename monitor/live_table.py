"""A table that follows its data and stays still under the reader's eye."""

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import DataTable

from monitor.tables import Column, Rows


class LiveTable(DataTable[Text]):
    """Rows are known by key: only what changed is touched, and a selection keeps its row and its place."""

    def __init__(self, title: str, columns: Sequence[Column], *, widget_id: str) -> None:
        super().__init__(id=widget_id, cursor_type="row", cursor_foreground_priority="renderable")
        self._title = title
        self._titles = [column.title for column in columns]
        for column in columns:
            label = Text(column.title, justify="right" if column.right else "left")
            self.add_column(label, key=column.title, width=column.width)

    def show(self, rows: Rows) -> None:
        """Make these the rows, in this order."""
        selected = self._selected()
        self._remove_all_but(rows)
        for key, cells in rows.items():
            self._put(key, cells)
        self._order(list(rows))
        if selected is not None and selected[0] in rows:
            self._select(*selected)
        self.border_title = f"{self._title} ({len(rows)})"

    def _selected(self) -> tuple[str, int] | None:
        """The key of the selected row and its line on the screen; the top row is nobody's choice."""
        if self.cursor_row == 0 or not self.row_count:
            return None
        row_key = self.coordinate_to_cell_key(self.cursor_coordinate).row_key
        return str(row_key.value), self.cursor_row - self.scroll_offset.y

    def _select(self, key: str, line: int) -> None:
        row = self.get_row_index(key)
        if row == self.cursor_row:
            return
        self.move_cursor(row=row, scroll=False)
        # After the table's own scrolling to its cursor, which would move what is being read.
        self.call_after_refresh(self.scroll_to, y=row - line, animate=False, immediate=True)

    def _remove_all_but(self, rows: Rows) -> None:
        for row_key in list(self.rows):
            if row_key.value not in rows:
                self.remove_row(row_key)

    def _put(self, key: str, cells: Sequence[Text]) -> None:
        if key not in self.rows:
            self.add_row(*cells, key=key)
            return
        for title, cell in zip(self._titles, cells, strict=True):
            if self.get_cell(key, title) != cell:
                self.update_cell(key, title, cell)

    def _order(self, keys: list[str]) -> None:
        if [row.key.value for row in self.ordered_rows] == keys:
            return
        first = self._titles[0]
        place = {id(self.get_cell(key, first)): index for index, key in enumerate(keys)}
        self.sort(first, key=lambda cell: place[id(cell)])
