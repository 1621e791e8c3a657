"""RFC 9457: errors as `application/problem+json`, for clients that ask for it.

if asks_for_problem(accept): ...                        # a request's Accept headers
problem_type(OverLimit).uri                             # '/docs/errors#over-limit', where GET /docs/errors tells of it
"""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus

import msgspec

from core.errors import CryptoPulseError

MEDIA_TYPE = "application/problem+json"
_PLAIN = "application/json"
PAGE = "/docs/errors"

# RFC 9110, 5.6.4 and 12.4.2. What stands within quotes is no part of what is looked for here.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_QUALITY = re.compile(r"(?:^|;)[ \t]*q=([^;]*)(?=;|$)", re.IGNORECASE)
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")
_WORD_BEGINS = re.compile(r"(?<!^)(?=[A-Z])")


class ProblemType(msgspec.Struct, frozen=True):
    """A kind of error; `uri` is stable, and says where to read of it."""

    uri: str
    title: str


def asks_for_problem(accept: Iterable[str]) -> bool:
    """Whether a request asks for problems by name, and not for plain JSON rather; `*/*` asks for nothing."""
    weights = {MEDIA_TYPE: 0.0, _PLAIN: 0.0}
    for media_range in _QUOTED.sub("", ",".join(accept)).split(","):
        name, _, parameters = media_range.partition(";")
        name = name.strip().lower()
        if name in weights:
            weights[name] = max(weights[name], _weight(parameters))
    return 0 < weights[MEDIA_TYPE] >= weights[_PLAIN]


def problem_type(error: BaseException, status: int) -> ProblemType:
    """The kind of an error; one that is none of our own is no more than its status."""
    if isinstance(error, CryptoPulseError):
        return ProblemType(f"{PAGE}#{anchor(type(error))}", title(type(error)))
    return ProblemType("about:blank", HTTPStatus(status).phrase)


def anchor(kind: type[CryptoPulseError]) -> str:
    """`over-limit` for OverLimit."""
    return _WORD_BEGINS.sub("-", kind.__name__).lower()


def title(kind: type[CryptoPulseError]) -> str:
    """`Over limit` for OverLimit."""
    return _WORD_BEGINS.sub(" ", kind.__name__).capitalize()


def kinds(root: type[CryptoPulseError] = CryptoPulseError) -> Iterator[type[CryptoPulseError]]:
    """All kinds of errors that there are, each after what it is a kind of."""
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def _weight(parameters: str) -> float:
    quality = _QUALITY.search(parameters)
    if quality is None:
        return 1.0
    text = quality[1].strip()
    return float(text) if _WEIGHT.fullmatch(text) else 0.0
