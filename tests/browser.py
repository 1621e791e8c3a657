"""A real Chromium, where one is installed, by its DevTools protocol."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_S = 25


@contextmanager
def chromium(folder: Path) -> Iterator[int]:
    """Runs a browser; gives the port of its DevTools, or skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed here")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run"]
    command = [CHROMIUM, *options, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            told = folder / "profile" / "DevToolsActivePort"
            until = time.monotonic() + PATIENCE_S
            while not (told.exists() and told.read_text().strip()) and time.monotonic() < until:
                time.sleep(0.05)  # between two looks for a file that a foreign process writes
            yield int(told.read_text().split()[0])
        finally:
            browser.kill()  # it holds nothing that would be lost, and takes its time otherwise


class Tab:
    """A page of the browser."""

    def __init__(self, devtools: aiohttp.ClientWebSocketResponse) -> None:
        self._devtools = devtools
        self._number = 0
        self.requested: list[str] = []
        self.failed: list[str] = []

    async def tell(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._devtools.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            said = json.loads((await self._devtools.receive()).data)
            if said.get("id") == self._number:
                return said["result"]
            if said["method"] == "Network.requestWillBeSent":
                self.requested.append(said["params"]["request"]["url"])
            if said["method"] == "Network.loadingFailed":
                self.failed.append(said["params"]["errorText"])

    async def wait_for(self, condition: str) -> Any:
        """What an expression gives as soon as that is something."""
        look = f"""new Promise(done => {{
            const clock = setInterval(() => {{
                const found = {condition};
                if (found) {{ clearInterval(clock); done(found); }}
            }}, 50);
        }})"""
        async with asyncio.timeout(PATIENCE_S):
            told = await self.tell("Runtime.evaluate", expression=look, awaitPromise=True, returnByValue=True)
        return told["result"].get("value")

    async def click(self, selector: str) -> None:
        """Click on the first element of a selector, once it is there."""
        assert await self.wait_for(
            f"document.querySelector({selector!r}) && (document.querySelector({selector!r}).click(), true)"
        )

    async def text(self, selector: str) -> str:
        """What the first element of a selector says, once it says anything."""
        said: str = await self.wait_for(f"document.querySelector({selector!r})?.innerText.trim()")
        return said

    async def type(self, selector: str, text: str) -> None:
        """Type into a field."""
        assert await self.wait_for(
            f"document.querySelector({selector!r}) && (document.querySelector({selector!r}).focus(), true)"
        )
        await self.tell("Input.insertText", text=text)


@asynccontextmanager
async def open_tab(port: int, url: str) -> AsyncGenerator[Tab]:
    """Has the browser at this DevTools port open a page."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            [page] = [one for one in await answer.json() if one["type"] == "page"]
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as devtools:
            tab = Tab(devtools)
            await tab.tell("Network.enable")
            await tab.tell("Page.enable")
            await tab.tell("Page.navigate", url=url)
            yield tab
