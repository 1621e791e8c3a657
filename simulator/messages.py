"""What goes in and out of the simulator, as values."""

from enum import Enum, auto
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=UTF-8"

# Headers have dashes, query parameters underscores.
DEMO_KEY_NAMES = ("x-cg-demo-api-key", "x_cg_demo_api_key")
PRO_KEY_NAMES = ("x-cg-pro-api-key", "x_cg_pro_api_key")


class Request(Struct, frozen=True):
    """One HTTP request; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str] = {}
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query, decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def params(self) -> dict[str, str]:
        """The query, decoded; of a repeated name the last counts."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    def first_of(self, names: tuple[str, ...]) -> str | None:
        """The first of the names that is a header or a parameter of this request."""
        given = self.headers | self.params
        return next((name for name in names if name in given), None)


class Ending(Enum):
    """How much of an answer reaches the client."""

    WHOLE = auto()
    CUT = auto()  # half of the body, then an orderly close
    RESET = auto()  # half of the body, then a TCP reset
    NEVER = auto()  # nothing, the connection stays open


class Answer(Struct, frozen=True, kw_only=True):
    """One HTTP answer, and how it is to be sent.

    `padding_bytes` spaces follow the body, which JSON allows. `gzipped` compresses both, asked for or not.
    """

    status: int
    body: bytes
    headers: dict[str, str]
    padding_bytes: int = 0
    gzipped: bool = False
    ending: Ending = Ending.WHOLE
    delay_s: float = 0.0


class Call(Struct, frozen=True, kw_only=True):
    """One call that the simulator got, written down when it arrived.

    `at` is in UNIX seconds, `monotonic` on this machine's monotonic clock. `status` is None for a call that
    gets no answer. `api_key` names the header or query parameter that carried a key; the key is not kept.
    """

    at: float
    monotonic: float
    path: str
    ids: tuple[str, ...]
    vs_currencies: tuple[str, ...]
    status: int | None
    api_key: str | None


def comma_list(text: str | None) -> tuple[str, ...]:
    """Split `a,b` as CoinGecko does: blanks around an item and empty items do not count."""
    return tuple(item.strip() for item in (text or "").split(",") if item.strip())


def json_answer(status: int, value: object, headers: dict[str, str] | None = None) -> Answer:
    """An answer that carries a value as JSON."""
    return Answer(status=status, body=msgspec.json.encode(value), headers={"content-type": JSON} | (headers or {}))
