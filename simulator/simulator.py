"""The simulator as one object: what it was told, what it was asked, and the server that answers."""

import time
from collections.abc import Callable
from email.utils import formatdate
from uuid import uuid4

import trio
from msgspec.structs import replace

from simulator import account, control, endpoints, refusals
from simulator.account import Credits
from simulator.config import SimulatorConfig
from simulator.endpoints import Situation
from simulator.limit import SlidingWindow
from simulator.messages import DEMO_KEY_NAMES, PRO_KEY_NAMES, Answer, Call, Ending, Request, comma_list
from simulator.wire import serve_connection

# Days of development; about 30 MB.
MAX_CALLS = 100_000


class Simulator:
    """A CoinGecko that does as it is told.

    `config` may be changed or replaced while it serves; `calls` is the record of calls, oldest first, the
    latest 100,000 of them. `credits_used` are those of a month that ends with a reset and at no other time; it
    may be set, to begin late in a month. `clock` tells UNIX seconds and decides on prices.
    """

    def __init__(self, config: SimulatorConfig | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config or SimulatorConfig()
        self.calls: list[Call] = []
        self.credits_used = 0
        self._clock = clock
        self._minute = SlidingWindow()

    def __repr__(self) -> str:
        failures = len(self.config.failures)
        return f"<Simulator {len(self.calls)} calls, {self.credits_used} credits used, {failures} failures ahead>"

    @property
    def month(self) -> Credits:
        """How this month's credits stand."""
        return Credits(self.credits_used, self.config.credits_per_month)

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
        self.credits_used += account.cost(request, answer)
        self._record(_call(request, answer, at, monotonic))
        headers = answer.headers | {"x-request-id": str(uuid4()), "date": formatdate(at, usegmt=True)}
        return replace(answer, headers=headers, delay_s=self.config.latency_ms / 1000)

    def reset(self) -> None:
        """Forget all calls, also those that count for the limits, and switch failures and lies off."""
        self.calls.clear()
        self.credits_used = 0
        self._minute.clear()
        self.config.heal()

    def _decide(self, request: Request, at: float, monotonic: float) -> Answer:
        # The month first: whom it refuses is not counted in the minute, and is not told that a minute would help.
        if self.month.used_up:
            return refusals.credits_used_up(at)
        if wait_s := self._minute.charge(monotonic, self.config.limit_per_minute):
            return refusals.too_many_requests(wait_s)
        answer = endpoints.respond(request, Situation(self.config, at, self.month))
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
        api_key=request.first_of(DEMO_KEY_NAMES + PRO_KEY_NAMES),
    )


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
