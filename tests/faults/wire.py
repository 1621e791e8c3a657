"""What can be read off the bytes that an instance exchanges with Redis and Postgres; pure.

    wire = RedisWire()
    for command in wire.sent(chunk): ...
    for command, reply in wire.answered(chunk): ...

Several commands or replies may share a chunk, and one may be spread over several: each is told once it is whole.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import hiredis
import msgspec

from core import lua

_INCOMPLETE: Final = object()
# {how EVALSHA or EVAL names it: the script's name}
_SCRIPTS: Final = {text.encode(): script.name for script in lua.SCRIPTS for text in (script.digest, script.source)}
_CHANNELS = {b"SUBSCRIBE", b"PSUBSCRIBE"}


class Command(msgspec.Struct, frozen=True):
    """One command; of a script of ours also its name and its ARGV."""

    words: tuple[bytes, ...]
    script: str = ""
    args: tuple[bytes, ...] = ()


class Opened(msgspec.Struct, frozen=True):
    """A batch that an admission opened, as Redis' answer says."""

    batch_id: str
    at_ms: int  # by Redis' clock


class Grant(msgspec.Struct, frozen=True):
    """A claim that Redis granted, as its answer says."""

    batch_id: str
    coin_id: str
    trigger: str
    fence: int
    at_ms: int  # by Redis' clock


class Settlement(msgspec.Struct, frozen=True):
    """What a completion wants to make known of one batch."""

    batch_id: str
    coin_id: str
    fence: int
    fetched_at: str
    prices: list[tuple[str, str]]  # [(vs_currency, price)]


class _Settled(msgspec.Struct, frozen=True):
    """One batch of a call, as the script `complete` gets it."""

    batch_id: str
    coin_id: str
    fence: int
    prices: list[tuple[str, str]]


class _Call(msgspec.Struct, frozen=True):
    """A call, as the script `complete` gets it."""

    at: str
    batches: list[_Settled]


class RedisWire:
    """One connection to Redis: commands, and the replies to them in the same order."""

    def __init__(self) -> None:
        self._commands = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._replies = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._unanswered: deque[Command] = deque()
        self._subscribed = False  # from then on messages come unasked

    def sent(self, chunk: bytes) -> list[Command]:
        """The commands that this chunk makes whole."""
        self._commands.feed(chunk)
        commands = [_command(tuple(words)) for words in iter(self._commands.gets, _INCOMPLETE)]
        self._unanswered.extend(commands)
        self._subscribed = self._subscribed or any(command.words[0] in _CHANNELS for command in commands)
        return commands

    def answered(self, chunk: bytes) -> list[tuple[Command, Any]]:
        """The replies that this chunk makes whole, with their commands; none on a connection that subscribed."""
        if self._subscribed:
            return []
        self._replies.feed(chunk)
        replies = [reply for reply in self._received() if not isinstance(reply, hiredis.PushNotification)]
        return [(self._unanswered.popleft(), reply) for reply in replies]

    def _received(self) -> Iterator[Any]:
        return iter(self._replies.gets, _INCOMPLETE)


def opened_in(reply: Any) -> list[Opened]:
    """The batches that an answer to the script `admit` says were opened by it: those that hold one request."""
    if not isinstance(reply, list):  # an error
        return []
    now_ms, _granted, *requests = reply
    coins = [coin for verdict, *rest in requests if verdict == b"admitted" for coin in rest[2:]]
    joined = [(batch_id, size) for kind, batch_id, size, *_ in (one for one in coins if one[0] == b"joined")]
    return [Opened(batch_id.decode(), now_ms) for batch_id, size in joined if size == 1]


def granted_in(command: Command, reply: Any) -> list[Grant]:
    """The claims that an answer to the script `claim` grants, or one to `admit`."""
    if not isinstance(reply, list):  # an error
        return []
    match command.script, reply:
        case ("claim", [now_ms, _call_in_ms, _calls, *standings]):
            return _grants_in(now_ms, standings)
        case ("admit", [now_ms, [_call_in_ms, _calls, *standings], *_requests]):
            return _grants_in(now_ms, standings)
        case _:
            return []


def _grants_in(now_ms: int, standings: Sequence[list[Any]]) -> list[Grant]:
    return [
        Grant(batch_id.decode(), coin.decode(), trigger.decode(), fence, now_ms)
        for batch_id, coin, trigger, fence, *_ in (rest for kind, *rest in standings if kind == b"granted")
    ]


def settlements_in(command: Command) -> list[Settlement]:
    """What a command that runs `complete` wants to make known."""
    call = msgspec.json.decode(command.args[-1], type=_Call, strict=False)
    return [Settlement(each.batch_id, each.coin_id, each.fence, call.at, each.prices) for each in call.batches]


def accepted_in(reply: Any) -> list[str]:
    """The ids of the batches that an answer to the script `complete` accepts."""
    return [batch_id.decode() for batch_id in reply] if isinstance(reply, list) else []


class PostgresWire:
    """What one connection to Postgres has executed, statement by statement; without TLS."""

    _LENGTH = 4

    def __init__(self) -> None:
        self._bytes = b""
        self._started = False
        self._statements: dict[bytes, str] = {}  # {name: text}, as prepared

    def sent(self, chunk: bytes) -> list[str]:
        """The statements that get their arguments in this chunk."""
        self._bytes += chunk
        return [text for kind, body in self._messages() if (text := self._executed(kind, body))]

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            # The very first message has no letter for its kind.
            head = 1 if self._started else 0
            end = head + int.from_bytes(self._bytes[head : head + self._LENGTH])
            if len(self._bytes) < max(end, head + self._LENGTH):
                return
            kind, body = self._bytes[:head], self._bytes[head + self._LENGTH : end]
            self._bytes, self._started = self._bytes[end:], True
            yield kind, body

    def _executed(self, kind: bytes, body: bytes) -> str | None:
        if kind == b"P":
            name, text, *_ = body.split(b"\0")
            self._statements[name] = text.decode()
        if kind == b"B":
            _portal, name, *_ = body.split(b"\0")
            return self._statements[name]
        return None


def writes_prices(statements: Sequence[str]) -> bool:
    """Whether prices are written by one of these statements."""
    return any("INSERT INTO prices" in text for text in statements)


def _command(words: tuple[bytes, ...]) -> Command:
    script = _SCRIPTS.get(words[1], "") if words[0] in {b"EVALSHA", b"EVAL"} else ""
    return Command(words, script, words[3 + int(words[2]) :] if script else ())
