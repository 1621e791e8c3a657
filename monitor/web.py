"""The dashboard in a browser, by textual-serve: each page is a monitor of its own, run here as a process.

    serve(["--replay", "evening.jsonl.gz"], port=8000, environment={**os.environ, "REDIS_URL": url})

For this machine only. Every asset comes from here, and only pages of ours may open the dashboard: a terminal that
any page a browser happens to show could reach would be everybody's.
"""

import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web
from textual_serve.server import Server
from yarl import URL

HOST = "127.0.0.1"
_PAGE = Path(__file__).with_name("web_page")
_CLOSE_WITHIN_S = 1.0
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(arguments: Sequence[str], port: int, environment: Mapping[str, str]) -> None:
    """Serve `cryptopulse monitor` with these arguments until somebody asks for the end; OSError: the port is taken."""
    os.environ.update(environment)  # where textual-serve takes it from; a URL with a password is no argument
    server = _Server(_command(arguments), host=HOST, port=port, title="CryptoPulse", templates_path=_PAGE)
    web.run_app(server.application(), host=HOST, port=port, print=None, shutdown_timeout=_CLOSE_WITHIN_S)


def _command(arguments: Sequence[str]) -> str:
    """`exec`: no shell stands between us and the monitor."""
    return "exec " + shlex.join([sys.executable, "-P", "-m", "cryptopulse", "monitor", *arguments])


class _Server(Server):
    """Theirs, with our page, our words, and our guard."""

    async def application(self) -> web.Application:
        application = await self._make_app()
        application.middlewares.append(_only_ours)
        return application

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002 - as theirs
        print(f"The monitor is on {self.public_url}; Ctrl-C ends it.", flush=True)  # noqa: T201 - what was asked for


@web.middleware
async def _only_ours(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse names that lead here from outside, and pages of others."""
    origin = request.headers.get("Origin")
    if not _is_this_machine(request.host) or (origin is not None and URL(origin).authority != request.host):
        raise web.HTTPForbidden(text="This monitor is for pages of its own, on this machine.\n")
    return await handler(request)


def _is_this_machine(host: str) -> bool:
    name = URL(f"http://{host}").host or ""
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return name == "localhost"
