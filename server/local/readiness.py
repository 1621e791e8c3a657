"""Whether a server of another process is ready; asking is the only way to know."""

from collections.abc import Sequence

import httpx
import trio

_ASK_EVERY_S = 0.05


async def wait_ready(urls: Sequence[str]) -> None:
    """Return once each of these servers says that it is ready; bound it from outside."""
    async with httpx.AsyncClient(trust_env=False) as client, trio.open_nursery() as nursery:
        for url in urls:
            nursery.start_soon(_wait_ready, client, f"{url}/health/ready")


async def _wait_ready(client: httpx.AsyncClient, url: str) -> None:
    while not await _answers_200(client, url):  # noqa: ASYNC110 - no event of ours is set there
        await trio.sleep(_ASK_EVERY_S)  # between two questions, since another process is asked


async def _answers_200(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
