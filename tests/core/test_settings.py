"""The environment is checked once, and every wrong variable is named in one line."""

from pathlib import Path

import argon2
import pytest
from pydantic import SecretStr

from core.environment import SettingsError
from core.setting_rules import parse_duration
from core.settings import SECRETS, Settings, load_settings

REQUIRED = {
    "ADMIN_USER": "admin",
    "ADMIN_PASS": "canary-pass",
    "JWT_SECRET": "canary-secret-of-at-least-32-bytes",
    "DATABASE_URL": "postgresql://user:canary-db@127.0.0.1/db",
    "REDIS_URL": "redis://:canary-redis@127.0.0.1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_defaults_are_the_contracts(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()

    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 3000, "info")
    assert (settings.batch_window_ms, settings.batch_threshold, settings.batch_result_timeout_ms) == (5000, 3, 8000)
    assert (settings.upstream_timeout_ms, settings.jwt_expires_in, settings.jwt_expires_s) == (2500, "1h", 3600)
    assert (settings.throttle_ttl_ms, settings.throttle_global_limit, settings.throttle_login_limit) == (60000, 20, 5)
    assert (settings.coingecko_api_key, settings.coingecko_base_url) == (None, "https://api.coingecko.com")
    assert (settings.trusted_proxies, settings.history_retention_s) == ((), None)


@pytest.mark.parametrize(("text", "seconds"), [("1d", 86_400), ("90d", 7_776_000), ("36500d", 3_153_600_000)])
def test_a_retention_is_of_days_not_of_seconds(environment: pytest.MonkeyPatch, text: str, seconds: int) -> None:
    environment.setenv("HISTORY_RETENTION", text)
    assert load_settings().history_retention_s == seconds


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_is_required_is_asked_for_by_name(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(SettingsError, match=f"^{name}: not given; it is required$"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("JWT_SECRET", "canary-short"),
        ("JWT_SECRET_PREVIOUS", "canary-short"),
        ("ADMIN_PASS", "$argon2id$canary"),
        ("ADMIN_PASS", "$argon2id$v=19$m=999999,t=3,p=4$c2FsdHNhbHQ$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQx5$canaryaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=65536,t=0,p=4$c2FsdHNhbHQ$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=8,t=3,p=4$c2FsdHNhbHQ$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=65536,t=0001,p=1$c2FsdHNhbHQ$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=65536,t=1,p=01$c2FsdHNhbHQ$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=065536,t=1,p=1$c2FsdHNhbHQ$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=65536,t=1,p=1$c2FsdHNhbHR$canaryaaaaaaaaaaaaaa"),
        ("ADMIN_PASS", "$argon2id$v=19$m=65536,t=1,p=1$c2FsdHNhbHQ$canaryaaaaaaaaaaaaa"),
        ("JWT_EXPIRES_IN", "1y"),
        ("JWT_EXPIRES_IN", "0"),
        ("DATABASE_URL", "mysql://canary"),
        ("DATABASE_URL", "postgresql://user:can/ary@host/db"),
        ("REDIS_URL", "http://canary"),
        ("REDIS_URL", "redis://host:port"),
        ("REDIS_URL", "redis://canary/abc"),
        ("REDIS_URL", "redis://canary?db=x"),
        ("REDIS_URL", "redis://canary?socket_timeout=5"),
        ("COINGECKO_API_KEY", "canary key"),
        ("COINGECKO_API_KEY", "canary-schlüssel"),
        ("COINGECKO_BASE_URL", "api.coingecko.com"),
        ("HISTORY_RETENTION", "90"),
        ("HISTORY_RETENTION", "23h"),
        ("HISTORY_RETENTION", "36501d"),
        ("HISTORY_RETENTION", "forever"),
        ("BATCH_WINDOW_MS", "0"),
        ("BATCH_THRESHOLD", "-1"),
        ("BATCH_THRESHOLD", "2.5"),
        ("BATCH_RESULT_TIMEOUT_MS", "7500"),
        ("THROTTLE_GLOBAL_LIMIT", "0"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed_and_no_secret(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()

    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert "allowed: " in line
    assert "canary" not in line


def test_all_wrong_values_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PORT", "x")
    environment.delenv("ADMIN_USER")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2


def test_proxies_are_networks_between_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert [str(network) for network in load_settings().trusted_proxies] == ["10.0.0.0/8", "::1/128"]


def test_secrets_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    assert "canary" not in repr(load_settings())


@pytest.mark.parametrize(("text", "seconds"), [("1h", 3600), ("30m", 1800), ("7d", 604800), ("45s", 45), ("90", 90)])
def test_a_duration_has_a_unit_or_is_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "1w", "-1h", "1.5h", "h", "1 h", "1h30m"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize("kind", argon2.Type)
def test_a_password_may_be_a_hash_as_the_library_writes_it(environment: pytest.MonkeyPatch, kind: argon2.Type) -> None:
    hashed = argon2.PasswordHasher(memory_cost=64, time_cost=1, type=kind).hash("opensesame")
    environment.setenv("ADMIN_PASS", hashed)
    assert load_settings().admin_pass.get_secret_value() == hashed


def test_every_secret_may_be_in_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert {name for name, field in Settings.model_fields.items() if "SecretStr" in repr(field)} == SECRETS
    path = tmp_path / "secret"
    path.write_text("canary-secret-of-some-thirty-two-bytes\n", encoding="utf-8")
    environment.delenv("JWT_SECRET")
    environment.setenv("JWT_SECRET_FILE", str(path))
    assert load_settings().jwt_secret == SecretStr("canary-secret-of-some-thirty-two-bytes")


def test_what_is_wrong_in_a_file_is_told_by_its_variable_once(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "canary"
    path.write_text("canary-short", encoding="utf-8")
    environment.delenv("JWT_SECRET")
    for wrong in (path, tmp_path / "none"):
        environment.setenv("JWT_SECRET_FILE", str(wrong))
        with pytest.raises(SettingsError) as caught:
            load_settings()
        [line] = str(caught.value).splitlines()
        assert line.startswith(("JWT_SECRET: *** given by JWT_SECRET_FILE; allowed: at least 32", "JWT_SECRET_FILE: "))
        assert "canary" not in line


def test_a_relation_between_settings_is_told_as_one_of_them(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BATCH_RESULT_TIMEOUT_MS", "7500")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    [problem] = caught.value.problems
    assert (problem.name, problem.wrong) == ("BATCH_RESULT_TIMEOUT_MS", "7500 given")
    assert problem.allowed == "more than BATCH_WINDOW_MS + UPSTREAM_TIMEOUT_MS = 7500"
