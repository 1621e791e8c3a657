"""What happened, as it was seen from outside: by clients, on the wires, by the upstream, and in Postgres at the end.

    write(history, path)
    history = read(path)

All times are this machine's monotonic clock in seconds, but where a name says otherwise.
"""

from decimal import Decimal
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

# refused: no connection; closed: it ended before any answer; broken: in the midst of one; given up: by the client.
Mishap = Literal["", "refused", "closed", "broken", "given up"]


class Request(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One request for a price, and what became of it."""

    number: int
    instance: str
    user: str
    coin: str
    currency: str
    sent_at: float
    ended_at: float | None = None
    mishap: Mishap = ""
    status: int | None = None
    answers: int = 0
    echo: int | None = None  # the number of the request that the answer says it belongs to
    about: tuple[str, str] | None = None  # what the answer says it prices, and in what
    batch_id: str = ""
    size: int = 0
    trigger: str = ""
    price: Decimal | None = None
    fetched_at: str = ""
    retry_after: str = ""

    @property
    def took_s(self) -> float:
        """How long the client waited."""
        return self.ended_at - self.sent_at if self.ended_at is not None else float("inf")


class Call(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One call that reached the upstream, and the prices it gave."""

    number: int
    at: float
    prices: dict[str, dict[str, Decimal]]  # {coin: {currency: price}}


class Opening(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A request opened a batch."""

    redis_ms: int  # Redis' clock
    instance: str
    batch_id: str


class Claim(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Redis gave an instance the right to flush a batch."""

    at: float
    redis_ms: int  # Redis' clock, which orders the claims of a batch; those of one call share it
    instance: str
    batch_id: str
    coin: str
    trigger: str
    fence: int


class Completion(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An instance told Redis the result of a batch; `accepted` is None where no answer was seen."""

    sent_at: float
    instance: str
    batch_id: str
    coin: str
    fence: int
    fetched_at_ms: int
    prices: dict[str, Decimal]  # {currency: price}; none if the call failed
    accepted: bool | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One price in Postgres."""

    batch_id: str
    coin: str
    currency: str
    price: Decimal
    fetched_at: str


class End(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An instance was ended on purpose."""

    at: float
    instance: str
    how: Literal["killed", "terminated"]


class Stall(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """An instance was stopped for a while."""

    instance: str
    began_at: float
    ended_at: float


class Emptied(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Redis came back without its memory."""

    at: float


class Bounds(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What was promised in numbers. `patience_s`: how much later than that a client may have seen it."""

    limit: int
    limit_window_s: float = 60.0
    answer_s: float = 9.0  # 1 s for the admission, then the result timeout
    patience_s: float = 2.0
    calls_per_minute: int | None = None  # to the upstream, of all instances


_Kind = TypeVar("_Kind")

Entry = Bounds | Request | Call | Opening | Claim | Completion | Row | End | Stall | Emptied


class History(msgspec.Struct, frozen=True, kw_only=True):
    """One whole run."""

    bounds: Bounds
    requests: tuple[Request, ...] = ()
    calls: tuple[Call, ...] = ()
    openings: tuple[Opening, ...] = ()
    claims: tuple[Claim, ...] = ()
    completions: tuple[Completion, ...] = ()
    rows: tuple[Row, ...] = ()
    ends: tuple[End, ...] = ()
    stalls: tuple[Stall, ...] = ()
    emptied: tuple[Emptied, ...] = ()

    @property
    def answered(self) -> list[Request]:
        """The requests that got a price."""
        return [request for request in self.requests if request.price is not None]


def write(history: History, path: Path) -> None:
    """Write one line of JSON for each thing that happened."""
    fields = msgspec.structs.asdict(history)
    entries: list[Entry] = [fields.pop("bounds")]
    for kind in fields.values():
        entries += kind
    path.write_bytes(msgspec.json.Encoder().encode_lines(entries))


def read(path: Path) -> History:
    """Read what `write` wrote."""
    bounds, *entries = msgspec.json.Decoder(Entry).decode_lines(path.read_bytes())
    assert isinstance(bounds, Bounds)

    def those(kind: type[_Kind]) -> tuple[_Kind, ...]:
        return tuple(entry for entry in entries if isinstance(entry, kind))

    return History(
        bounds=bounds,
        requests=those(Request),
        calls=those(Call),
        openings=those(Opening),
        claims=those(Claim),
        completions=those(Completion),
        rows=those(Row),
        ends=those(End),
        stalls=those(Stall),
        emptied=those(Emptied),
    )
