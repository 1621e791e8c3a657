"""Everything that can be set, from the environment, checked once at the start.

settings = load_settings()        # raises SettingsError, one line a wrong variable
"""

import re
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# RFC 7518, 3.2: HS256 wants 256 bits.
SHORTEST_SECRET_BYTES = 32

_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MASKED = frozenset(
    {"ADMIN_PASS", "JWT_SECRET", "COINGECKO_API_KEY", "COINGECKO_BASE_URL", "DATABASE_URL", "REDIS_URL"}
)

_WHOLE_NUMBER = "a whole number"
_NETWORKS = "addresses or networks with commas between, such as 10.0.0.0/8,192.0.2.7"
_ALLOWED = {
    "int_parsing": _WHOLE_NUMBER,
    "greater_than": _WHOLE_NUMBER + " above {gt}",
    "greater_than_equal": _WHOLE_NUMBER + " of at least {ge}",
    "less_than_equal": _WHOLE_NUMBER + " of at most {le}",
    "literal_error": "{expected}",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "http:// or https://, a host, perhaps a port and a path; no user, query or fragment",
    "ip_v4_network": _NETWORKS,
    "ip_v6_network": _NETWORKS,
}


class SettingsError(Exception):
    """The environment holds values that cannot be used; str() is one line a variable."""


def parse_duration(text: str) -> int:
    """Turn `1h`, `30m`, `7d`, `45s` or plain seconds into seconds, or raise ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration such as 1h, 30m, 7d, or seconds")
    return int(match[1]) * _SECONDS[match[2]]


def _long_enough(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().encode()) < SHORTEST_SECRET_BYTES:
        raise ValueError(f"at least {SHORTEST_SECRET_BYTES} bytes, for example the output of `openssl rand -hex 32`")
    return secret


def _not_empty(text: SecretStr) -> SecretStr:
    if not text.get_secret_value():
        raise ValueError("a text that is not empty")
    return text


def _url_of(*schemes: str) -> AfterValidator:
    starts = tuple(f"{scheme}://" for scheme in schemes)

    def check(url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(starts) or not _has_sane_port(url.get_secret_value()):
            raise ValueError(f"a URL that starts with {' or '.join(starts)}, its password percent-encoded")
        return url

    return AfterValidator(check)


def _understood_by_redis(url: SecretStr) -> SecretStr:
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


def _printable_ascii(text: SecretStr) -> SecretStr:
    if re.fullmatch(r"[!-~]+", text.get_secret_value()) is None:
        raise ValueError("printable ASCII without blanks, as CoinGecko hands its keys out")
    return text


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _duration(text: str) -> str:
    parse_duration(text)
    return text


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Milliseconds = Annotated[int, Field(gt=0, le=86_400_000)]
Limit = Annotated[int, Field(gt=0, le=1_000_000_000)]


class Settings(BaseSettings):
    """One frozen set of settings; each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"

    admin_user: Annotated[str, Field(min_length=1)]
    admin_pass: Annotated[SecretStr, AfterValidator(_not_empty)]
    jwt_secret: Annotated[SecretStr, AfterValidator(_long_enough)]
    jwt_expires_in: Annotated[str, AfterValidator(_duration)] = "1h"

    database_url: Annotated[SecretStr, _url_of("postgres", "postgresql")]
    redis_url: Annotated[SecretStr, _url_of("redis", "rediss", "unix"), AfterValidator(_understood_by_redis)]

    coingecko_api_key: Annotated[SecretStr, AfterValidator(_printable_ascii)] | None = None
    coingecko_base_url: Annotated[str, Field(pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$")] = (
        "https://api.coingecko.com"
    )

    batch_window_ms: Milliseconds = 5000
    batch_threshold: Annotated[int, Field(gt=0, le=1_000_000)] = 3
    batch_result_timeout_ms: Milliseconds = 8000
    batch_ride_along: bool = True
    upstream_timeout_ms: Milliseconds = 2500
    upstream_max_ids: Annotated[int, Field(gt=0, le=515)] = 500
    upstream_calls_per_minute: Limit | None = None
    upstream_calls_per_month: Limit | None = None
    upstream_honour_cache: bool = False
    compat_max_age_s: Annotated[int, Field(ge=0, le=86_400)] = 30

    throttle_ttl_ms: Milliseconds = 60_000
    throttle_global_limit: Limit = 20
    throttle_login_limit: Limit = 5
    max_waiting: Limit = 10_000
    max_connections: Limit = 20_000
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split_commas)] = ()

    @property
    def jwt_expires_s(self) -> int:
        """How long a token of a login is good, in seconds."""
        return parse_duration(self.jwt_expires_in)

    @property
    def patience_s(self) -> float:
        """How long a request can wait for its upstream call and be answered in time, in seconds."""
        return (self.batch_result_timeout_ms - self.upstream_timeout_ms) / 1000

    @model_validator(mode="after")
    def _deadlines_nest(self) -> Self:
        if self.batch_window_ms + self.upstream_timeout_ms >= self.batch_result_timeout_ms:
            raise ValueError(
                "BATCH_RESULT_TIMEOUT_MS: "
                f"{self.batch_result_timeout_ms} given; allowed: more than BATCH_WINDOW_MS + UPSTREAM_TIMEOUT_MS "
                f"= {self.batch_window_ms + self.upstream_timeout_ms}"
            )
        return self


def load_settings() -> Settings:
    """Read the environment, or raise SettingsError that names every wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        problems = error.errors(include_url=False)
    first_of_each = {str(problem["loc"][:1]): problem for problem in reversed(problems)}
    raise SettingsError("\n".join(_line(problem) for problem in reversed(first_of_each.values())))


def _line(problem: ErrorDetails) -> str:
    allowed = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in _ALLOWED:
        allowed = _ALLOWED[problem["type"]].format(**problem.get("ctx", {}))
    if not problem["loc"]:  # a relation between variables names them itself
        return allowed
    name = str(problem["loc"][0]).upper()
    if problem["type"] == "missing":
        return f"{name}: not given; it is required"
    given = "***" if name in _MASKED else repr(problem["input"])
    return f"{name}: {given} given; allowed: {allowed}"
