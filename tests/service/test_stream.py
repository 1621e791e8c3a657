"""Live prices on real parts: what one instance fetches, every instance tells."""

import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import trio

from core import keys
from core.streams import NOWHERE
from server.auth import issue_token
from tests.service.conftest import SECRET, ClientFor, StartInstance

QUICK = {"batch_threshold": 1}
PAGE = Path(__file__).parents[2] / "docs" / "stream.md"


class Told:
    """A stream, event by event. Its client blocks: of httpx's own, one that stops in the middle leaves generators."""

    def __init__(self, answer: HTTPResponse) -> None:
        self._answer = answer

    async def next(self) -> dict[str, str]:
        """The fields of the next event, or whatever stands before an empty line."""
        lines = await trio.to_thread.run_sync(lambda: list(iter(self._line, "")), abandon_on_cancel=True)
        return {field: value for field, _, value in (line.partition(": ") for line in lines)}

    def _line(self) -> str:
        return self._answer.readline().decode().removesuffix("\n")


@asynccontextmanager
async def streaming(client: httpx.AsyncClient, last_id: str = "") -> AsyncIterator[Told]:
    headers = {"Authorization": client.headers["Authorization"], "Last-Event-ID": last_id}
    with closing(HTTPConnection(client.base_url.host, client.base_url.port or 80, timeout=10)) as connection:
        connection.request("GET", "/v1/prices/stream?ids=bitcoin", headers=headers)
        answer = await trio.to_thread.run_sync(connection.getresponse, abandon_on_cancel=True)
        assert answer.status == 200
        told = Told(answer)
        assert "retry" in await told.next()
        yield told
        answer.close()


async def test_what_one_instance_fetches_both_tell_and_a_stream_goes_on_at_the_other(
    start_instance: StartInstance, client_for: ClientFor
) -> None:
    ann, bob = [await client_for(await start_instance(**QUICK), user) for user in ("ann", "bob")]
    async with streaming(ann) as of_ann, streaming(bob) as of_bob:
        price = await ann.get("/v1/price/bitcoin")
        first = await of_ann.next()
        assert first == await of_bob.next()
        assert (first["event"], first["data"]) == ("price", price.text)

    await bob.get("/v1/price/ethereum")
    missed = await bob.get("/v1/price/bitcoin")
    async with streaming(bob, first["id"]) as of_ann:
        assert (await of_ann.next())["data"] == missed.text


async def test_when_the_feed_was_lost_a_stream_is_reset_and_told_what_is_at_hand(
    start_instance: StartInstance, client_for: ClientFor, redis_url: str
) -> None:
    ann = await client_for(await start_instance(**QUICK))
    price = await ann.get("/v1/price/bitcoin")
    async with streaming(ann) as told:
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="pubsub")
        assert await told.next() == {"event": "reset", "data": "{}", "id": NOWHERE}
        assert await told.next() == {"event": "price", "data": price.text}
        again = await ann.get("/v1/price/bitcoin")
        assert (await told.next())["data"] == again.text


async def test_a_price_that_is_unlisted_is_not_at_hand(
    start_instance: StartInstance, client_for: ClientFor, redis_url: str
) -> None:
    ann = await client_for(await start_instance(**QUICK))
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"{keys.PREFIX}:latest:bitcoin", "usd", "1:2:3:" + "b" * 32 + ":")
    async with streaming(ann, "unknown") as told:
        assert (await told.next())["event"] == "reset"
        price = await ann.get("/v1/price/bitcoin")
        assert (await told.next())["data"] == price.text


def client_of_the_page(language: str, url: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(code).replace("http://127.0.0.1:3000", url)


@pytest.mark.parametrize("language", ["python", "js"])
async def test_the_clients_of_the_page_tell_a_price(
    start_instance: StartInstance, client_for: ClientFor, tmp_path: Path, language: str
) -> None:
    program = sys.executable if language == "python" else shutil.which("node")
    if program is None:
        pytest.skip("there is no Node.js here")
    url = await start_instance(**QUICK, throttle_global_limit=1_000_000)
    script = tmp_path / ("client.py" if language == "python" else "client.mjs")
    script.write_text(client_of_the_page(language, url), encoding="utf-8")
    token = issue_token(SECRET, subject="ann", username="ann", expires_s=600)
    bob = await client_for(url, "bob")

    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, env={"TOKEN": token}, stdout=subprocess.PIPE, check=False)
        process: Any = await nursery.start(run, [program, str(script)])
        nursery.start_soon(fetch_until_cancelled, bob)
        said = await process.stdout.receive_some(65_536)
        nursery.cancel_scope.cancel()
    assert b"bitcoin" in said


async def fetch_until_cancelled(client: httpx.AsyncClient) -> None:
    """Nobody knows when the other's stream is open."""
    while True:
        await client.get("/v1/price/bitcoin")
