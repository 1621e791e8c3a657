"""Everything that can be set, from the environment, checked once at the start.

settings = load_settings()        # raises SettingsError, one line a wrong variable
"""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from core import setting_rules
from core.environment import Found, Problem, SettingsError, read
from core.setting_rules import parse_duration, url_of

# Each may be in a file, of which a variable of the same name with _FILE behind it tells.
SECRETS = frozenset(
    {"admin_pass", "jwt_secret", "jwt_secret_previous", "coingecko_api_key", "database_url", "redis_url"}
)
# Where somebody may have put a password all the same.
_MASKED = SECRETS | {"coingecko_base_url"}

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


Milliseconds = Annotated[int, Field(gt=0, le=86_400_000)]
Limit = Annotated[int, Field(gt=0, le=1_000_000_000)]


class Settings(BaseModel):
    """One frozen set of settings; each field is an environment variable of the same name in capitals."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(setting_rules.lower)] = "info"

    admin_user: Annotated[str, Field(min_length=1)]
    admin_pass: Annotated[SecretStr, AfterValidator(setting_rules.password)]
    jwt_secret: Annotated[SecretStr, AfterValidator(setting_rules.long_enough)]
    jwt_secret_previous: Annotated[SecretStr, AfterValidator(setting_rules.long_enough)] | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_expires_in: Annotated[str, AfterValidator(setting_rules.duration)] = "1h"

    database_url: Annotated[SecretStr, url_of("postgres", "postgresql")]
    redis_url: Annotated[
        SecretStr, url_of("redis", "rediss", "unix"), AfterValidator(setting_rules.understood_by_redis)
    ]
    history_retention: Annotated[str, AfterValidator(setting_rules.retention)] | None = None

    coingecko_api_key: Annotated[SecretStr, AfterValidator(setting_rules.printable_ascii)] | None = None
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
    max_streams_per_user: Limit = 10
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(setting_rules.split_commas)] = ()

    @property
    def jwt_expires_s(self) -> int:
        """How long a token of a login is good, in seconds."""
        return parse_duration(self.jwt_expires_in)

    @property
    def history_retention_s(self) -> int | None:
        """How long prices are kept at least, in seconds; None for ever."""
        return parse_duration(self.history_retention) if self.history_retention else None

    @property
    def patience_s(self) -> float:
        """How long a request can wait for its upstream call and be answered in time, in seconds."""
        return (self.batch_result_timeout_ms - self.upstream_timeout_ms) / 1000

    @model_validator(mode="after")
    def _deadlines_nest(self) -> Self:
        if self.batch_window_ms + self.upstream_timeout_ms >= self.batch_result_timeout_ms:
            raise PydanticCustomError(
                "deadlines",
                "more than BATCH_WINDOW_MS + UPSTREAM_TIMEOUT_MS = {least}",
                {
                    "name": "batch_result_timeout_ms",
                    "given": self.batch_result_timeout_ms,
                    "least": self.batch_window_ms + self.upstream_timeout_ms,
                },
            )
        return self


def load_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment, or raise SettingsError that names every wrong variable."""
    settings, _ = settings_found(environment)
    return settings


def settings_found(environment: Mapping[str, str]) -> tuple[Settings, Found]:
    """The settings, and where each came from that is not as shipped; or raise SettingsError."""
    found = read(environment, Settings.model_fields, SECRETS)
    problems = {problem.name.removesuffix("_FILE"): problem for problem in found.problems}
    settings = None
    try:
        settings = Settings.model_validate(found.values)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problem = _problem(details, found)
            problems.setdefault(problem.name, problem)
    if settings is None or problems:
        raise SettingsError(problems.values())
    return settings, found


def _problem(details: ErrorDetails, found: Found) -> Problem:
    allowed = details["msg"].removeprefix("Value error, ")
    told = details.get("ctx", {})
    if details["type"] in _ALLOWED:
        allowed = _ALLOWED[details["type"]].format(**told)
    # A relation between variables tells by itself which one is wrong.
    name = str(details["loc"][0]) if details["loc"] else str(told["name"])
    if details["type"] == "missing":
        return Problem(name.upper(), "not given; it is required")
    given = "***" if name in _MASKED else repr(details["input"] if details["loc"] else told["given"])
    by = f" by {name.upper()}_FILE" if found.origins.get(name) == "file" else ""
    return Problem(name.upper(), f"{given} given{by}", allowed)
