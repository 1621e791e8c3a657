"""Small pieces of text: names made harmless, numbers made short, bars."""

from rich.text import Text

_THOUSANDS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def harmless(name: str, width: int) -> Text:
    """A name from outside: never markup, no control or direction codes, at most `width` cells wide."""
    shown = Text("".join(char if char.isprintable() else "?" for char in name[: 2 * width]), no_wrap=True)
    shown.truncate(width, overflow="ellipsis")
    return shown


def number(value: float) -> str:
    """`1,523`, and `2.5M` where digits would only be in the way."""
    for size, sign in _THOUSANDS:
        if abs(value) >= size:
            return f"{value / size:.1f}{sign}"
    return f"{value:,.0f}"


def bar(part: float, width: int) -> str:
    """A bar that is filled to `part` of 1."""
    filled = round(min(1.0, max(0.0, part)) * width)
    return "━" * filled + "╌" * (width - filled)


def time_of_day(at_ms: int) -> str:
    """`12:56:24Z` of a unix time."""
    minutes, seconds = divmod(at_ms // 1000 % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}Z"
