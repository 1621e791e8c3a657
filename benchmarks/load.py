"""The load generator: a process of its own, cheap enough to share a core with what the servers under test lean on.

    echo '{"mode": "closed", ...}' | python -m benchmarks.load

It is told an `Order`, says on its output when the measured part begins and ends, and then a `Load`, all as JSON lines.
Every user, with a token made beforehand, asks as often as the limit as shipped lets it and no more; users take turns,
which is the harder case for a server that remembers tokens.
"""

import base64
import hmac
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from select import EPOLLIN, epoll
from typing import Literal

import msgspec

from benchmarks.figures import Spread, spread
from benchmarks.wire import NO_ANSWER, Address, Connection

_OK = 200
_TICK_S = 0.1
_LOOK_S = 0.3
_WARM_BURSTS = 20


class Order(msgspec.Struct, kw_only=True):
    """What to send."""

    mode: Literal["closed", "burst", "hold"]
    targets: list[Address]
    coins: list[str]
    secret: str
    crowd: str  # whose users these are: no two orders to one server have the same
    users: int
    requests_a_user: int
    core: int | None = None
    connections: int = 64  # closed: as many requests are always under way; hold: as many are held
    warm_up_s: float = 1.0
    seconds: float = 5.0
    bursts: int = 100
    burst_size: int = 3
    gap_s: float = 0.03
    settle_s: float = 1.5
    patience_s: float = 20.0
    seed: int = 1


class Said(msgspec.Struct):
    """What the generator says while it works: the measured part begins, goes on, has ended."""

    what: Literal["begin", "tick", "end"]
    unanswered: int = 0


class Load(msgspec.Struct, kw_only=True):
    """What came of an order."""

    requests: int  # whose answers came within the measured part
    answered: int  # of these: with 200
    statuses: dict[str, int]  # of all, before and after it too; "0": no answer
    seconds: float
    wait_ms: Spread | None
    last_after_s: float = 0.0  # hold: the last answer, after the first request
    elsewhere_ms: Spread | None = None  # burst: the last answer of another instance, after the first of all
    ran_out_of_users: bool = False
    own_cpu_s: float = 0.0


class Generator:
    """Sends what is ordered."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._chance = random.Random(order.seed)
        self._targets = [f" HTTP/1.1\r\nHost: {host}:{port}\r\n".encode() for host, port in order.targets]
        self._paths = [f"GET /v1/price/{coin}".encode() for coin in order.coins]
        self._tokens = _tokens(order)
        self._left = order.users * order.requests_a_user
        self._poll = epoll()
        self._by_descriptor: dict[int, Connection] = {}
        self.statuses: Counter[int] = Counter()

    def run(self) -> Load:
        """Do it."""
        modes = {"closed": self._closed, "burst": self._burst, "hold": self._hold}
        load = modes[self._order.mode]()
        load.statuses = {str(status): count for status, count in self.statuses.items()}
        load.ran_out_of_users = self._left <= 0
        load.own_cpu_s = time.process_time()
        return load

    def _connect(self, count: int) -> list[Connection]:
        targets = self._order.targets
        connections = [Connection(targets[number % len(targets)], number % len(targets)) for number in range(count)]
        for connection in connections:
            self._watch(connection)
        return connections

    def _watch(self, connection: Connection) -> None:
        self._by_descriptor[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, EPOLLIN)

    def _send(self, connection: Connection, path: bytes) -> None:
        self._left -= 1
        token = self._tokens[self._left % len(self._tokens)]
        connection.sent_at = time.perf_counter()
        connection.send(path + self._targets[connection.place] + token)

    def _answers(self, patience_s: float) -> Iterator[tuple[Connection, int]]:
        """Those that have come when the next one comes; a connection that the server left is replaced."""
        for descriptor, _ in self._poll.poll(patience_s):
            connection = self._by_descriptor[descriptor]
            status = connection.receive()
            if status is not None:
                self.statuses[status] += 1
                yield self._usable(connection) if status == NO_ANSWER else connection, status

    def _usable(self, connection: Connection) -> Connection:
        sent_at = connection.sent_at
        self._poll.unregister(connection.socket)
        del self._by_descriptor[connection.socket.fileno()]
        connection.close()
        again = Connection(self._order.targets[connection.place], connection.place)
        again.sent_at = sent_at
        self._watch(again)
        return again

    def _closed(self) -> Load:
        """As many requests under way as there are connections: each answer is followed by a request."""
        order, waits = self._order, list[float]()
        connections = self._connect(order.connections)
        began_at = time.perf_counter() + order.warm_up_s
        ends_at = began_at + order.seconds
        requests, under_way, is_measured = 0, len(connections), False
        for connection in connections:
            self._send(connection, self._chance.choice(self._paths))
        while (now := time.perf_counter()) < ends_at and self._left > 0:
            if not is_measured and now >= began_at:
                is_measured = True
                _say(Said("begin"))
            for connection, status in self._answers(1.0):
                now = time.perf_counter()
                if is_measured:
                    requests += 1
                    if status == _OK:
                        waits.append((now - connection.sent_at) * 1000)
                if self._left > 0:
                    self._send(connection, self._chance.choice(self._paths))
                else:
                    under_way -= 1
        _say(Said("end"))
        seconds = time.perf_counter() - began_at
        self._drain(under_way)
        return Load(requests=requests, answered=len(waits), statuses={}, seconds=seconds, wait_ms=spread(waits))

    def _drain(self, under_way: int) -> None:
        """Wait for the answers that are still to come; they are in the statuses alone."""
        gives_up_at = time.perf_counter() + self._order.patience_s
        while under_way > 0 and time.perf_counter() < gives_up_at:
            under_way -= sum(1 for _ in self._answers(1.0))

    def _burst(self) -> Load:
        """So many requests at once for one coin, and when all are answered, a pause and the next burst."""
        order, waits, elsewhere, began_at = self._order, list[float](), list[float](), 0.0
        connections = self._connect(order.burst_size)
        for number in range(-_WARM_BURSTS, order.bursts):
            if number == 0:
                began_at = self._begin()
            answers = self._one_burst(connections, self._paths[number % len(self._paths)])
            if number >= 0:
                waits += [(at - connection.sent_at) * 1000 for connection, at in answers]
                elsewhere += _elsewhere(answers)
            connections = [connection for connection, _ in answers]
            time.sleep(order.gap_s)
        _say(Said("end"))
        return Load(
            requests=order.bursts * order.burst_size,
            answered=self.statuses[_OK] - _WARM_BURSTS * order.burst_size,
            statuses={},
            seconds=time.perf_counter() - began_at,
            wait_ms=spread(waits),
            elsewhere_ms=spread(elsewhere),
        )

    def _begin(self) -> float:
        """Say so, and leave whoever hears it the time to look at the servers; when the measured part begins."""
        _say(Said("begin"))
        time.sleep(_LOOK_S)
        return time.perf_counter()

    def _one_burst(self, connections: Sequence[Connection], path: bytes) -> list[tuple[Connection, float]]:
        answers: list[tuple[Connection, float]] = []
        gives_up_at = time.perf_counter() + self._order.patience_s
        for connection in connections:
            self._send(connection, path)
        while len(answers) < len(connections) and time.perf_counter() < gives_up_at:
            answers += [(connection, time.perf_counter()) for connection, _ in self._answers(1.0)]
        return answers

    def _hold(self) -> Load:
        """So many requests at once, one a connection, all connected before; says how it goes until all are answered."""
        order, waits = self._order, list[float]()
        unanswered = len(connections := self._connect(order.connections))
        time.sleep(order.settle_s)
        began_at = self._begin()
        for number, connection in enumerate(connections):
            self._send(connection, self._paths[number % len(self._paths)])
        gives_up_at, tick_at = time.perf_counter() + order.patience_s, 0.0
        while unanswered and (now := time.perf_counter()) < gives_up_at:
            if now >= tick_at:
                _say(Said("tick", unanswered))
                tick_at = now + _TICK_S
            for connection, status in self._answers(_TICK_S):
                unanswered -= 1
                if status == _OK:
                    waits.append((time.perf_counter() - connection.sent_at) * 1000)
        _say(Said("end", unanswered))
        seconds = time.perf_counter() - began_at
        return Load(
            requests=order.connections,
            answered=len(waits),
            statuses={},
            seconds=seconds,
            wait_ms=spread(waits),
            last_after_s=seconds,
        )


def _elsewhere(answers: Sequence[tuple[Connection, float]]) -> list[float]:
    """How long after the first answer of all the last one of another instance came."""
    first, first_at = answers[0]
    later = [(at - first_at) * 1000 for connection, at in answers if connection.place != first.place]
    return [max(later)] if later else []


def _tokens(order: Order) -> list[bytes]:
    """The rest of each user's requests: HS256 by hand, since thousands are made."""
    now = int(time.time())
    head = _base64(b'{"alg":"HS256","typ":"JWT"}')
    key = hmac.new(order.secret.encode(), digestmod="sha256")
    tokens = []
    for number in range(order.users):
        name = f"{order.crowd}-{number}"
        claims = msgspec.json.encode({"sub": name, "username": name, "iat": now, "exp": now + 3600})
        signed = head + b"." + _base64(claims)
        mac = key.copy()
        mac.update(signed)
        tokens.append(b"Authorization: Bearer " + signed + b"." + _base64(mac.digest()) + b"\r\n\r\n")
    return tokens


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _say(what: Said | Load) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Read the order, and do it."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if order.core is not None:
        os.sched_setaffinity(0, {order.core})
    _say(Generator(order).run())


if __name__ == "__main__":
    main()
