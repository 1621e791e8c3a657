"""The line in which a filter is typed; it is there only while there is one."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Label


class FilterLine(Horizontal):
    """`/ filter: bit`."""

    def compose(self) -> ComposeResult:
        """A label and an input."""
        yield Label("/ filter:")
        yield Input(compact=True, max_length=100)

    def on_mount(self) -> None:
        """A cursor that blinks would have the screen painted twice a second."""
        self.display = False
        self.input.cursor_blink = False

    @property
    def input(self) -> Input:
        """Where it is typed."""
        return self.query_one(Input)

    def open(self, sought: str) -> None:
        """Let a filter be typed."""
        self.display = True
        self.input.value = sought
        self.input.focus()

    def settle(self, sought: str) -> None:
        """Give the keys back to the table; stay in sight while there is a filter."""
        with self.prevent(Input.Changed):
            self.input.value = sought
        self.display = bool(sought)
        self.screen.set_focus(None)
