"""A widget that draws one text for the room it has, and is painted only when that text changed.

drawn.show(lambda width: lines.header(…, width=width))
"""

from collections.abc import Callable

from rich.text import Text
from textual.widgets import Static

Draw = Callable[[int], Text]  # from the width there is


class Drawn(Static):
    """Whatever its drawing makes of its width."""

    def __init__(self, *, widget_id: str = "", title: str = "", classes: str = "") -> None:
        super().__init__(id=widget_id or None, classes=classes or None)
        self.border_title = title or None
        self.said = Text()
        self.painted = 0  # times, for tests
        self._draw: Draw | None = None

    def show(self, draw: Draw) -> None:
        """Draw this from now on."""
        self._draw = draw
        self._redraw()

    def on_resize(self) -> None:
        """Draw the same for the new width."""
        self._redraw()

    def _redraw(self) -> None:
        width = self.content_size.width
        if self._draw is None or not width:
            return
        text = self._draw(width)
        if text != self.said:
            self.said = text
            self.painted += 1
            self.update(text, layout=False)
