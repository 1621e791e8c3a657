"""Small pieces of text: names made harmless, numbers and times made short, bars, sparklines. Pure.

seconds(3.14) == "3.1s"; bar(0.5, 4) == "━━╌╌"; spark([0, 1, 2], 3) == "▁▄█"
"""

from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from rich.cells import cell_len, set_cell_size
from rich.text import Text

Part = tuple[str, str]  # text, style
Cell = tuple[Part, ...]

# Each of these stands beside a sign or a word that says the same.
GOOD = "#7ccf8a"
WARN = "#f2c55c"
BAD = "#ff7b72"
ACCENT = "#79b8ff"
QUIET = "#8b949e"
FAINT = "#545d68"

_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_LEVELS = "▁▂▃▄▅▆▇█"
_NAME_CHARS = 500  # of a name from outside that are looked at


def clean(name: str) -> str:
    """A name from outside with every control and direction code as a question mark."""
    return name if name.isprintable() else "".join(char if char.isprintable() else "?" for char in name)


def harmless(name: str, width: int) -> Text:
    """A name from outside: never markup, no control or direction codes, at most `width` cells wide."""
    return Text(cut(clean(name[: 2 * width]), width), no_wrap=True)


def name(text: str, style: str = "") -> Part:
    """A name from outside, for a cell."""
    return clean(text[:_NAME_CHARS]), style


def cut(text: str, width: int) -> str:
    """At most `width` cells of a text; its end says that there was more."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def padded(cell: Cell, width: int, *, right: bool = False) -> Cell:
    """A cell that is exactly `width` cells wide."""
    free = width - sum(cell_len(text) for text, _ in cell)
    if free < 0:
        return padded(_cut_cell(cell, width), width, right=right)
    space = (" " * free, "")
    return ((space, *cell) if right else (*cell, space)) if free else cell


def _cut_cell(cell: Cell, width: int) -> Cell:
    parts: list[Part] = []
    for text, style in cell:
        if width <= 0:
            break
        parts.append((cut(text, width), style))
        width -= cell_len(text)
    return tuple(parts)


def number(value: float) -> str:
    """`1,523`, and `2.5M` where digits would only be in the way."""
    for size, sign in _THOUSANDS:
        if abs(value) >= size:
            return f"{value / size:.1f}{sign}"
    return f"{value:,.0f}"


def memory(size_bytes: int) -> str:
    """`64 MB`; `-` where the system does not tell."""
    return f"{number(size_bytes / 1e6)} MB" if size_bytes else "-"


def seconds(duration_s: float | None) -> str:
    """`3.1s`, `42s`, `4m05s`, `2h03m`, `4d02h`: five or six characters, whatever the time."""
    if duration_s is None:
        return "-"
    duration_s = max(0.0, duration_s)
    if duration_s < 9.95:  # noqa: PLR2004 -- 9.95 rounds to 10
        return f"{duration_s:.1f}s"
    whole = round(duration_s)
    for unit_s, unit, part_s, part in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit_s:
            return f"{whole // unit_s}{unit}{whole % unit_s // part_s:02}{part}"
    return f"{whole}s"


def milliseconds(duration_ms: float | None) -> str:
    """`2.1 ms`, `1,204 ms`; `-` when it is not known."""
    if duration_ms is None:
        return "-"
    return f"{duration_ms:.1f} ms" if 0 < duration_ms < 9.95 else f"{number(duration_ms)} ms"  # noqa: PLR2004


def price(digits: str, vs_currency: str) -> str:
    """`91,204.11`, every digit of it; its currency where that is not the dollar."""
    if not digits:
        return "-"
    whole, point, fraction = clean(digits[:_NAME_CHARS]).partition(".")
    shown = f"{int(whole):,}" if whole.isascii() and whole.isdecimal() else whole
    currency = "" if vs_currency in ("", "usd") else f" {clean(vs_currency[:8])}"
    return f"{shown}{point}{fraction}{currency}"


def bar(part: float, width: int) -> str:
    """A bar that is filled to `part` of 1."""
    halves = round(min(1.0, max(0.0, part)) * width * 2)
    filled = "━" * (halves // 2) + "╸" * (halves % 2)
    return filled + "╌" * (width - len(filled))


def bar_cell(part: float, width: int, style: str) -> Cell:
    """The same with its filled part in a colour, its rest faint."""
    whole = bar(part, width)
    filled = whole.rstrip("╌")
    return ((filled, style), (whole[len(filled) :], FAINT))


def spark(values: Sequence[int], width: int) -> str:
    """A sparkline that is `width` cells wide, the newest at its right end."""
    if width <= 0:
        return ""
    groups = _grouped(values, width)
    most = max(groups, default=0.0)
    top = len(_LEVELS) - 1
    # The least inaccuracy of a float would lead beyond the highest.
    levels = (min(top, ceil(max(0, value) * top / most)) if most > 0 else 0 for value in groups)
    return "".join(_LEVELS[level] for level in levels).rjust(width)


def _grouped(values: Sequence[int], width: int) -> Sequence[float]:
    """At most `width` values: the means of neighbours."""
    if len(values) <= width:
        return values
    ends = [len(values) * nth // width for nth in range(width + 1)]
    return [sum(values[start:end]) / (end - start) for start, end in pairwise(ends)]


def time_of_day(at_ms: int) -> str:
    """`12:56:24Z` of a unix time."""
    minutes, rest_s = divmod(at_ms // 1000 % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest_s:02}Z"


def exact_time(at_ms: int) -> str:
    """`12:56:24.104` of a unix time."""
    return f"{time_of_day(at_ms)[:-1]}.{at_ms % 1000:03}"
