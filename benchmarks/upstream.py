"""The smallest CoinGecko: prices of any coins in `usd`, after a latency, and a count of calls; very cheap.

    python -m benchmarks.upstream --latency-ms 50 --core 1

Where servers are to be compared, some of them make thousands of calls a second: our simulator, which can fail, lie and
limit, would be what is measured. `GET /__calls` says how many calls there were, and `/__latency?50` sets the latency.
"""

import asyncio
import os
import re
from urllib.parse import parse_qs, urlsplit

import click
import msgspec

_TARGET = re.compile(rb"GET (\S+) HTTP/1\.1\r\n")


class _Upstream:
    """What all connections have in common."""

    def __init__(self, latency_ms: float) -> None:
        self.latency_s = latency_ms / 1000
        self.calls = 0

    def answer(self, target: str) -> tuple[float, bytes]:
        """After how many seconds to answer, and what."""
        parts = urlsplit(target)
        if parts.path == "/__calls":
            return 0, b"%d" % self.calls
        if parts.path == "/__latency":
            self.latency_s = float(parts.query) / 1000
            return 0, b"null"
        self.calls += 1
        query = {name: values[0].split(",") for name, values in parse_qs(parts.query).items()}
        row = dict.fromkeys(query.get("vs_currencies", []), 1.5)
        return self.latency_s, msgspec.json.encode(dict.fromkeys(query.get("ids", []), row))


class _Connection(asyncio.Protocol):
    """One client's connection; clients here send one request at a time, without bodies."""

    def __init__(self, upstream: _Upstream) -> None:
        self._upstream = upstream
        self._unread = b""
        self._transport = asyncio.Transport()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            target = _TARGET.match(self._unread)
            self._unread = self._unread[end + 4 :]
            after_s, body = self._upstream.answer(target[1].decode() if target else "/")
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
            answer = head % len(body) + body
            if after_s:
                asyncio.get_running_loop().call_later(after_s, self._transport.write, answer)
            else:
                self._transport.write(answer)


@click.command()
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0)
@click.option("--core", type=int)
def main(latency_ms: float, core: int | None) -> None:
    """Serve on a free port, and say which."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    asyncio.run(_serve(_Upstream(latency_ms)))


async def _serve(upstream: _Upstream) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(upstream), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    click.echo(f"http://127.0.0.1:{port}")
    await server.serve_forever()


if __name__ == "__main__":
    main()
