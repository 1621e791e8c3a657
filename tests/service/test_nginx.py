"""deploy/nginx.conf as nginx understands it, in front of real instances and of one that a test plays."""

import shutil
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.service.conftest import ClientFor, StartInstance
from tests.service.test_metrics import scrape, value

CONFIGURATION = (Path(__file__).parents[2] / "deploy" / "nginx.conf").read_text(encoding="utf-8")
NGINX = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
NOBODY = "http://127.0.0.1:9"
BEHIND = {"trusted_proxies": "127.0.0.1", "batch_window_ms": 100}

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx here")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def nginx(folder: Path, urls: Sequence[str]) -> AsyncGenerator[str]:
    """An nginx in front of three instances that are elsewhere than in the file, and its URL."""
    port = free_port()
    text = CONFIGURATION.replace("/tmp/", f"{folder}/").replace("listen 8080;", f"listen 127.0.0.1:{port};")
    for name, url in zip(("web1", "web2", "web3"), urls, strict=True):
        assert f"server {name}:3000 " in text
        text = text.replace(f"server {name}:3000 ", f"server {url.removeprefix('http://')} ")
    path = folder / "nginx.conf"
    path.write_text(text, encoding="utf-8")
    command = [str(NGINX), "-p", str(folder), "-e", "stderr", "-c", str(path), "-g", "daemon off;"]
    process = await trio.lowlevel.open_process(command)
    try:
        while True:
            assert process.poll() is None
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                break
            except OSError:
                await trio.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with trio.CancelScope(shield=True):
            await process.wait()


class Played:
    """An instance that a test plays: it keeps what it is asked, and streams when it is told to."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.connections = 0
        self.go_on = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        head = b""
        async for data in stream:
            head += data
            if head.endswith(b"\r\n\r\n"):
                self.heads.append(head.decode())
                await self._answer(stream)
                head = b""

    async def _answer(self, stream: trio.SocketStream) -> None:
        if self.heads[-1].startswith("GET /v1/prices/stream"):
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
            await stream.send_all(b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            await self.go_on.wait()
            await stream.send_all(b"3\r\ntwo\r\n0\r\n\r\n")
        else:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture
async def played(nursery: trio.Nursery) -> tuple[Played, str]:
    instance = Played()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, instance.serve, [listener])
    return instance, f"http://127.0.0.1:{listener.socket.getsockname()[1]}"


async def test_all_instances_are_asked_and_one_that_is_away_is_not_noticed(
    start_instance: StartInstance, client_for: ClientFor, tmp_path: Path
) -> None:
    urls = [await start_instance(**BEHIND) for _ in range(2)]
    async with nginx(tmp_path, [*urls, NOBODY]) as url:
        ann = await client_for(url)
        answers = [await ann.get("/v1/price/bitcoin/history") for _ in range(6)]
        price = await ann.get("/v1/price/bitcoin")
    assert [answer.status_code for answer in answers] == [200] * 6
    assert price.status_code == 200
    history = {"route": "/v1/price/{coinId}/history", "status": "200"}
    shares = [value(await scrape(each), "http_requests_total", **history) for each in urls]
    assert sum(shares) == 6
    assert all(shares)


async def test_nobody_gets_another_limit_by_claiming_another_address(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    urls = [await start_instance(**BEHIND, throttle_login_limit=2) for _ in range(2)]
    async with nginx(tmp_path, [*urls, NOBODY]) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        body = {"username": "admin", "password": "no"}
        answers = [
            await client.post("/auth/login", json=body, headers={"X-Forwarded-For": f"10.0.0.1, 192.0.2.{number}"})
            for number in range(3)
        ]
    assert [answer.status_code for answer in answers] == [401, 401, 429]


async def test_a_stream_is_passed_on_as_it_comes(played: tuple[Played, str], tmp_path: Path) -> None:
    instance, at = played
    async with (
        nginx(tmp_path, [at] * 3) as url,
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{url}/v1/prices/stream?ids=bitcoin") as answer,
    ):
        heard = []
        async for part in answer.aiter_raw():
            heard.append(part)
            instance.go_on.set()  # until then there is no second one
    assert heard == [b"one", b"two"]


async def test_instances_are_spoken_to_on_connections_that_stay(played: tuple[Played, str], tmp_path: Path) -> None:
    instance, at = played
    async with nginx(tmp_path, [at] * 3) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for _ in range(10):
            assert (await client.get("/v1/price/bitcoin", headers={"X-Forwarded-For": "192.0.2.1"})).text == "ok"
    # Each of the three in the file may keep one.
    assert instance.connections <= 3
    assert all("HTTP/1.1\r\n" in head and "Connection" not in head for head in instance.heads)
    assert {line for head in instance.heads for line in head.splitlines() if line.startswith("X-Forwarded-For")} == {
        "X-Forwarded-For: 127.0.0.1"
    }


@pytest.mark.parametrize("path", ["/metrics", "/metrics?x=1", "//metrics", "/%6Detrics", "/health/../metrics"])
async def test_metrics_stay_inside(played: tuple[Played, str], tmp_path: Path, path: str) -> None:
    instance, at = played
    async with nginx(tmp_path, [at] * 3) as url:
        target = httpx.URL(url).copy_with(raw_path=path.encode())
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(target)
    assert (answer.status_code, answer.json()["statusCode"]) == (404, 404)
    assert instance.heads == []


async def test_when_all_are_away_the_client_is_told_so_in_our_words(tmp_path: Path) -> None:
    async with nginx(tmp_path, [NOBODY] * 3) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for path in ("/v1/price/bitcoin", "/v1/prices/stream"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["error"] == "Service Unavailable"
