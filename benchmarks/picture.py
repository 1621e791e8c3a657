"""Pictures of points, as SVG: both axes logarithmic, a series a colour, a line where something is the best possible.

points("calls and waits", "calls", "wait, s", {"original": [(120, 0.4, "steady")]}, best=...)
"""

import math
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

import msgspec

_WIDTH, _HEIGHT = 360, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 58, 34, 14, 48
_COLOURS = ("#444444", "#c0392b", "#1f77b4", "#2e8b57", "#8e44ad", "#d98200")
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.title{font-weight:bold;font-size:13px}"
    ".grid{stroke:#ddd}.best{stroke:#222;stroke-dasharray:5 4}"
)


class Panel(msgspec.Struct, frozen=True):
    """One set of axes; x is drawn to the right, y upwards."""

    title: str
    points: Mapping[str, tuple[float, float]]  # {series: (x, y)}
    best_y: float | None = None


class _Axis:
    """A logarithmic scale over whole decades."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def drawn(panels: Sequence[Panel], x_label: str, y_label: str, columns: int = 3) -> str:
    """All panels on one sheet, on the same axes, with a legend."""
    rows = math.ceil(len(panels) / columns)
    width, height = columns * _WIDTH, rows * _HEIGHT + 40
    everything = [point for panel in panels for point in panel.points.values()]
    bests = [panel.best_y for panel in panels if panel.best_y]
    x = _Axis([point[0] for point in everything], _LEFT, _WIDTH - _RIGHT)
    y = _Axis([*(point[1] for point in everything), *bests], _HEIGHT - _BOTTOM, _TOP)
    series = list(dict.fromkeys(name for panel in panels for name in panel.points))
    colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(series)}
    parts = [f'<style>{_STYLE}</style><rect width="{width}" height="{height}" fill="white"/>']
    for place, panel in enumerate(panels):
        where = f"translate({place % columns * _WIDTH},{place // columns * _HEIGHT})"
        parts.append(f'<g transform="{where}">{_panel(panel, x, y, colours, (x_label, y_label))}</g>')
    for place, name in enumerate([*series, "fewest calls possible"]):
        mark = _dot(12, 0, colours[name]) if name in colours else '<path d="M0 0H24" class="best"/>'
        where = f"translate({20 + place * (width - 40) / (len(series) + 1):.0f},{height - 20})"
        parts.append(f'<g transform="{where}">{mark}<text x="30" y="4">{escape(name)}</text></g>')
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{"".join(parts)}</svg>\n'


def _panel(panel: Panel, x: _Axis, y: _Axis, colours: Mapping[str, str], labels: tuple[str, str]) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [f'<text class="title" x="{_LEFT}" y="20">{escape(panel.title)}</text>']
    for tick in x.ticks():
        at = f"{x.at(tick):.1f}"
        parts.append(f'<path class="grid" d="M{at} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in y.ticks():
        at = f"{y.at(tick):.1f}"
        parts.append(f'<path class="grid" d="M{_LEFT} {at}H{right}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at}" dy="4" text-anchor="end">{tick:,.10g}</text>')
    parts.append(
        f'<text x="{(_LEFT + right) / 2:.0f}" y="{bottom + 34}" text-anchor="middle">{escape(labels[0])}</text>'
    )
    parts.append(f'<text transform="translate(12,{(_TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">')
    parts.append(f"{escape(labels[1])}</text>")
    if panel.best_y:
        parts.append(f'<path class="best" d="M{_LEFT} {y.at(panel.best_y):.1f}H{right}"/>')
    parts += [_dot(x.at(point[0]), y.at(point[1]), colours[name]) for name, point in panel.points.items()]
    return "".join(parts)


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}" fill-opacity="0.8"/>'
