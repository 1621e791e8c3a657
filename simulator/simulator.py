"""The simulator as one object: what it was told, what it was asked, and the server that answers."""

import time
from collections.abc import Callable
from email.utils import formatdate
from uuid import uuid4

import trio
from msgspec.structs import replace

from simulator import control, endpoints
from simulator.config import SimulatorConfig
from simulator.limit import SlidingWindow
from simulator.messages import Answer, Call, Ending, Request, comma_list
from simulator.wire import serve_connection

# Headers have dashes, query parameters underscores.
KEY_NAMES = ("x-cg-demo-api-key", "x-cg-pro-api-key", "x_cg_demo_api_key", "x_cg_pro_api_key")

# Days of development; about 30 MB.
MAX_CALLS = 100_000


class Simulator:
    """A CoinGecko that does as it is told.

    `config` may be changed or replaced while it serves; `calls` is the record of calls, oldest first, the
    latest 100,000 of them. `clock` tells UNIX seconds and decides on prices.
    """

    def __init__(self, config: SimulatorConfig | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config or SimulatorConfig()
        self.calls: list[Call] = []
        self._clock = clock
        self._minute = SlidingWindow()

    def __repr__(self) -> str:
        return f"<Simulator {len(self.calls)} calls, {len(self.config.failures)} failures ahead>"

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer until cancelled. Started with its URL once it listens; port 0 takes a free one."""
        listeners = await trio.open_tcp_listeners(port, host=host)
        task_status.started(_url(listeners[0]))
        await trio.serve_listeners(self._serve_connection, listeners)

    def answer(self, request: Request) -> Answer:
        """Decide on one request, and write it down unless it is about the simulator itself."""
        if request.path.startswith(control.PREFIX):
            return control.respond(request, self)
        at, monotonic = self._clock(), time.monotonic()
        answer = self._decide(request, at, monotonic)
        self._record(_call(request, answer, at, monotonic))
        headers = answer.headers | {"x-request-id": str(uuid4()), "date": formatdate(at, usegmt=True)}
        return replace(answer, headers=headers, delay_s=self.config.latency_ms / 1000)

    def reset(self) -> None:
        """Forget all calls, also those that count for the limit, and switch failures and lies off."""
        self.calls.clear()
        self._minute.clear()
        self.config.heal()

    def _decide(self, request: Request, at: float, monotonic: float) -> Answer:
        wait_s = self._minute.charge(monotonic, self.config.limit_per_minute)
        if wait_s:
            return endpoints.too_many_requests(wait_s)
        answer = endpoints.respond(request, self.config, at)
        failure = self.config.take_failure()
        return failure.spoil(answer) if failure else answer

    def _record(self, call: Call) -> None:
        self.calls.append(call)
        del self.calls[:-MAX_CALLS]

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        await serve_connection(stream, self.answer)


def _call(request: Request, answer: Answer, at: float, monotonic: float) -> Call:
    params = request.params
    return Call(
        at=at,
        monotonic=monotonic,
        path=request.path,
        ids=comma_list(params.get("ids")),
        vs_currencies=comma_list(params.get("vs_currencies")),
        status=None if answer.ending is Ending.NEVER else answer.status,
        api_key=next((name for name in KEY_NAMES if name in request.headers or name in params), None),
    )


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
