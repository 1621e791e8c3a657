"""`--web`, as a browser has it: the page, its assets, its WebSocket, and, where there is one, a real Chromium."""

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest

from core.events import VERSION, Message
from monitor.recording import Recorder
from tests.browser import PATIENCE_S, chromium, open_tab
from tests.monitor.conftest import run_plain

T = TypeVar("T")


@pytest.fixture(scope="module")
def web_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A recording of one instance, replayed on a page."""
    path = tmp_path_factory.mktemp("web") / "one.jsonl"
    recorder = Recorder(path)
    recorder.write(Message(VERSION, "api-1", 1, 1_700_000_000_000, [], 0))
    recorder.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "cryptopulse", "monitor", "--web", "--port", str(port), "--replay", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert server.stdout.readline() == f"The monitor is on http://127.0.0.1:{port}; Ctrl-C ends it.\n"
        _wait_until_served(port)
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        assert server.wait(PATIENCE_S) == 0


def _wait_until_served(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return


async def fetch(url: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of an answer."""
    async with aiohttp.ClientSession(url) as browser, browser.get(path, headers=headers) as answer:
        return answer.status, await answer.text(errors="replace")


async def screen_from(socket_: aiohttp.ClientWebSocketResponse, wanted: str) -> str:
    """What the dashboard draws, up to a text."""
    drawn = ""
    async with asyncio.timeout(PATIENCE_S):
        while wanted not in drawn:
            message = await socket_.receive()
            assert message.type in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}, message
            drawn += message.data.decode() if isinstance(message.data, bytes) else ""
    return drawn


def test_the_page_and_all_that_it_names_come_from_here(web_url: str) -> None:
    async def story() -> None:
        _, page = await fetch(web_url, "/")
        assert re.findall(r"\w+://\w[^\"'`\s]*", page) == []
        named = set(re.findall(r"/static/[\w./-]+", page))
        assert len(named) >= 3
        for asset in named:
            status, _ = await fetch(web_url, asset)
            assert status == 200

    run_plain(story())


def test_the_socket_of_the_page_draws_the_dashboard_and_takes_keys(web_url: str) -> None:
    async def story() -> None:
        async with aiohttp.ClientSession(web_url) as browser, browser.ws_connect("/ws?width=100&height=30") as ws:
            await screen_from(ws, "CryptoPulse")
            await ws.send_json(["stdin", "q"])
            async with asyncio.timeout(PATIENCE_S):
                while (await ws.receive()).type != aiohttp.WSMsgType.CLOSE:
                    pass

    run_plain(story())


@pytest.mark.parametrize("origin", ["http://example.org", "http://127.0.0.1:1", "null"])
def test_a_page_of_somebody_else_cannot_open_it(web_url: str, origin: str) -> None:
    status, _ = run_plain(fetch(web_url, "/ws", Origin=origin))
    assert status == 403


@pytest.mark.parametrize(("host", "status"), [("example.org", 403), ("localhost:1", 200), ("[::1]:8000", 200)])
def test_only_names_of_this_machine_lead_to_it(web_url: str, host: str, status: int) -> None:
    found, _ = run_plain(fetch(web_url, "/", Host=host))
    assert found == status


def test_a_port_that_is_taken_is_told_in_a_line(web_url: str, tmp_path: Path) -> None:
    port = web_url.rpartition(":")[2]
    command = [sys.executable, "-m", "cryptopulse", "monitor", "--web", "--port", port, "--redis-url", "redis://none"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "address already in use" in ended.stderr


def test_a_real_browser_shows_it_asks_nobody_else_and_quits_it(web_url: str, tmp_path: Path) -> None:
    async def story(port: int) -> None:
        async with open_tab(port, web_url) as tab:
            await tab.wait_for("document.body?.classList.contains('-first-byte')")
            await tab.type("textarea", "q")
            await tab.wait_for("document.body.classList.contains('-closed')")
            foreign = [url for url in tab.requested if not url.startswith((web_url, "data:", "blob:"))]
            assert (foreign, tab.failed) == ([], [])
            assert f"{web_url}/static/js/textual.js" in tab.requested

    with chromium(tmp_path) as port:
        run_plain(story(port))
