"""Draws the README's picture of the monitor: `make picture`, from the recording that ships, at a fixed moment."""

import asyncio
import re
from pathlib import Path

import click

from monitor.app import MonitorApp
from monitor.recording import Recording, ReplaySource

DEMO = Path(__file__).parents[1] / "monitor" / "demo.jsonl.gz"
_AT_S = 29.8  # just after the crash was noticed
_SIZE = (110, 32)


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--at", "at_s", default=_AT_S, show_default=True, help="Seconds from the recording's beginning.")
def main(path: Path, at_s: float) -> None:
    """Write the picture."""
    path.write_text(without_links(asyncio.run(_drawn(at_s))), encoding="utf-8")


async def _drawn(at_s: float) -> str:
    source = ReplaySource(Recording(DEMO), start_s=at_s)
    source.set_paused(paused=True)
    app = MonitorApp(source, remember=False)
    async with app.run_test(size=_SIZE) as pilot:
        await pilot.pause()  # the source tells all up to there at once
        app.paint()
        await pilot.pause()
        return app.export_screenshot(title="cryptopulse monitor")


def without_links(svg: str) -> str:
    """The same with the fonts that a machine has, none of which comes from elsewhere."""
    svg = re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    # Names of classes are made from what is drawn, so that the same picture is the same file.
    return svg.replace("Fira Code, monospace", "'DejaVu Sans Mono', Menlo, Consolas, monospace")


if __name__ == "__main__":
    main()
