"""What settings may be, one by one: checks that raise ValueError with what is allowed."""

import re
from base64 import b64decode, b64encode
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, SecretStr

# RFC 7518, 3.2: HS256 wants 256 bits.
SHORTEST_SECRET_BYTES = 32

_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DAY_S = 86_400
_CENTURY_S = 36_500 * _DAY_S

# How argon2's own tools and libraries write a hash: kind, version, KiB, passes, lanes, salt, hash.
ARGON2 = "$argon2"
_ARGON2_HASH = re.compile(
    r"\$argon2(?:id|i|d)\$v=19\$m=([1-9][0-9]{0,8}),t=([1-9][0-9]{0,3}),p=([1-9][0-9]{0,3})\$([A-Za-z0-9+/]{11,})\$([A-Za-z0-9+/]{16,})"
)
_MOST_KIB, _MOST_PASSES, _MOST_LANES = 262_144, 64, 64
_KIB_A_LANE = 8


def parse_duration(text: str) -> int:
    """Turn `1h`, `30m`, `7d`, `45s` or plain seconds into seconds, or raise ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration such as 1h, 30m, 7d, or seconds")
    return int(match[1]) * _SECONDS[match[2]]


def duration(text: str) -> str:
    """A text that is a duration."""
    parse_duration(text)
    return text


def retention(text: str) -> str:
    """A text that is a duration of days."""
    if not _DAY_S <= parse_duration(text) <= _CENTURY_S:
        raise ValueError("a duration of 1d to 36500d, such as 90d")
    return text


def long_enough(secret: SecretStr) -> SecretStr:
    """A secret that HS256 may sign with."""
    if len(secret.get_secret_value().encode()) < SHORTEST_SECRET_BYTES:
        raise ValueError(f"at least {SHORTEST_SECRET_BYTES} bytes, for example the output of `openssl rand -hex 32`")
    return secret


def password(secret: SecretStr) -> SecretStr:
    """A password, or an Argon2 hash of one that can be computed."""
    text = secret.get_secret_value()
    if not text:
        raise ValueError("a text that is not empty")
    if text.startswith(ARGON2) and not _is_hash(text):
        raise ValueError(
            "if it begins with $argon2, a whole Argon2 hash of version 19, of at most 256 MiB, 64 passes and 64 lanes; "
            "in a shell or in .env within single quotes"
        )
    return secret


def _is_hash(text: str) -> bool:
    match = _ARGON2_HASH.fullmatch(text)
    if match is None:
        return False
    kib, passes, lanes = int(match[1]), int(match[2]), int(match[3])
    whole = all(map(_is_base64, match.groups()[3:]))
    return whole and passes <= _MOST_PASSES and lanes <= _MOST_LANES and lanes * _KIB_A_LANE <= kib <= _MOST_KIB


def _is_base64(text: str) -> bool:
    """Whether bytes are written so, without padding; argon2 takes no other way to write the same ones."""
    if len(text) % 4 == 1:
        return False
    return b64encode(b64decode(text + "=" * (-len(text) % 4))).decode().rstrip("=") == text


def url_of(*schemes: str) -> AfterValidator:
    """A check that a URL is of one of these schemes."""
    starts = tuple(f"{scheme}://" for scheme in schemes)

    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(starts) or not _has_sane_port(url.get_secret_value()):
            raise ValueError(f"a URL that starts with {' or '.join(starts)}, its password percent-encoded")
        return url

    return AfterValidator(check)


def understood_by_redis(url: SecretStr) -> SecretStr:
    """Refuse what only one of the two Redis clients would heed: all must reach the same database the same way."""
    parts = urlsplit(url.get_secret_value())
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = options.pop("db", "0") if parts.scheme == "unix" else parts.path.strip("/") or options.pop("db", "0")
    options.pop("ssl_ca_certs", None)
    if not database.isdecimal() or options:
        raise ValueError("a Redis URL with nothing behind the host but /DB, ?db=DB and ?ssl_ca_certs=FILE")
    return url


def _has_sane_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:  # as when a '/' in a password ends the host too early
        return False


def printable_ascii(text: SecretStr) -> SecretStr:
    """A key that may stand in a header."""
    if re.fullmatch(r"[!-~]+", text.get_secret_value()) is None:
        raise ValueError("printable ASCII without blanks, as CoinGecko hands its keys out")
    return text


def split_commas(value: object) -> object:
    """The items of `a,b`."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def lower(value: object) -> object:
    """A text in small letters."""
    return value.lower() if isinstance(value, str) else value
