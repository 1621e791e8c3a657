"""What the keys do and what the words mean."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.screen import ModalScreen
from textual.widgets import Static

_HELP = """\
[b]Keys[/b]
 q        quit
 space    pause and go on; what happens meanwhile is kept
 ?        this help; ? or escape closes it
 tab      next table;  arrows and page keys move in it

[b]Words[/b]
 batch    requests for one coin that one upstream call answers
 size     requests admitted to a batch, over all instances
 flusher  the instance that claimed a batch and calls upstream
 calls    upstream calls; reduction = 1 - calls / answered
 totals   are of all instances, since each one's start;
          flushes are counted since this monitor watches

[b]Signs[/b]
 ● up, claimed   ○ silent for 3 s, open   ■ stopped
 ✓ answered      ✗ failed, refused        ! look here"""


class HelpScreen(ModalScreen[None]):
    """Closes by the key that opened it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("question_mark,escape", "dismiss", "close"),
        ("q", "app.quit", "quit"),
    ]

    def compose(self) -> ComposeResult:
        """One text."""
        yield Static(_HELP, id="help")
