"""`cryptopulse config` and `cryptopulse doctor`, as real processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest

from core.settings import Settings
from server.local.state import Running, StateFolder

CLEAN = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
GOOD = {
    "ADMIN_USER": "admin",
    "ADMIN_PASS": "canary-pass",
    "JWT_SECRET": "canary-secret-of-at-least-32-bytes",
    "DATABASE_URL": "postgresql://ann:canary@127.0.0.1:1/db",
    "REDIS_URL": "redis://:canary@127.0.0.1:1",
}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cryptopulse", *words]
    return subprocess.run(
        command,
        env=CLEAN | environment,
        close_fds=False,  # so that what a test made inheritable is inherited
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


class TestConfig:
    def test_settings_that_can_be_used_are_that(self) -> None:
        ended = run("config", "check", **GOOD)
        assert (ended.returncode, ended.stdout) == (0, "All settings can be used.\n")
        assert json.loads(run("config", "check", "--json", **GOOD).stdout) == {"ok": True, "problems": []}

    def test_each_wrong_one_is_told_with_what_is_allowed(self) -> None:
        wrong = GOOD | {"PORT": "x", "JWT_SECRET": "canary", "ADMIN_USER": ""}
        ended = run("config", "check", **wrong)
        assert (ended.returncode, ended.stdout.splitlines()) == (
            1,
            [
                "PORT: 'x' given; allowed: a whole number",
                "ADMIN_USER: not given; it is required",
                "JWT_SECRET: *** given; allowed: at least 32 bytes, for example the output of `openssl rand -hex 32`",
            ],
        )
        assert ended.stderr.startswith("set what is missing in the environment, as .env.example shows;")
        ended = run("config", "check", "--json", **wrong)
        told = json.loads(ended.stdout)
        assert (ended.returncode, told["ok"]) == (1, False)
        assert told["problems"][0] == {"name": "PORT", "wrong": "'x' given", "allowed": "a whole number"}

    def test_all_settings_are_shown_with_where_they_come_from_and_no_secret(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(GOOD["JWT_SECRET"] + "\n", encoding="utf-8")
        given = GOOD | {"JWT_SECRET": "", "JWT_SECRET_FILE": str(tmp_path / "secret"), "TRUSTED_PROXIES": "10.0.0.0/8"}
        rows: list[dict[str, Any]] = json.loads(run("config", "show", "--json", **given).stdout)
        by_name = {row["name"]: (row["value"], row["from"]) for row in rows}
        assert list(by_name) == [name.upper() for name in Settings.model_fields]
        assert by_name["PORT"] == (3000, "default")
        assert by_name["ADMIN_USER"] == ("admin", "environment")
        assert by_name["JWT_SECRET"] == ("***", "file")
        assert by_name["REDIS_URL"] == ("redis://***@127.0.0.1:1", "environment")
        assert by_name["TRUSTED_PROXIES"] == (["10.0.0.0/8"], "environment")

        lines = run("config", "show", **given).stdout.splitlines()
        assert len(lines) == len(rows)
        assert [line.split() for line in lines if line.startswith(("PORT", "COINGECKO_API_KEY", "BATCH_RIDE"))] == [
            ["PORT", "3000", "(default)"],
            ["COINGECKO_API_KEY", "-", "(default)"],
            ["BATCH_RIDE_ALONG", "true", "(default)"],
        ]
        assert "canary" not in "".join(lines)

    def test_what_is_known_is_shown_where_some_are_missing(self) -> None:
        ended = run("config", "show", ADMIN_USER="ada", BATCH_THRESHOLD="4")
        rows = [line.split() for line in ended.stdout.splitlines()]
        assert (ended.returncode, len(rows)) == (2, len(Settings.model_fields))
        assert ["ADMIN_USER", "ada", "(environment)"] in rows
        assert ["BATCH_THRESHOLD", "4", "(environment)"] in rows
        assert [name for name, *rest in rows if rest == ["-", "(missing)"]] == [
            "ADMIN_PASS",
            "JWT_SECRET",
            "DATABASE_URL",
            "REDIS_URL",
        ]
        assert ended.stderr.startswith("set what is missing in the environment, as .env.example shows;")

    def test_wrong_settings_are_not_shown_but_told(self) -> None:
        ended = run("config", "show", **GOOD | {"PORT": "x"})
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "PORT: 'x' given; allowed: a whole number\n"


class TestDoctor:
    def test_all_is_well(self, redis_url: str, migrated_url: str) -> None:
        ended = run("doctor", **GOOD | {"REDIS_URL": redis_url, "DATABASE_URL": migrated_url})
        assert ended.returncode == 0
        assert "trouble" not in ended.stdout
        assert ended.stdout.startswith("well     Settings   those of the environment\n")
        assert "skipped  CoinGecko  https://api.coingecko.com was not asked" in ended.stdout

    def test_trouble_is_1_and_told_to_programs_too(self) -> None:
        ended = run("doctor", "--json", **GOOD)
        found = json.loads(ended.stdout)
        assert (ended.returncode, [each["state"] for each in found]) == (1, ["well", "trouble", "trouble", "skipped"])
        assert "canary" not in ended.stdout + ended.stderr

    def test_it_finds_a_running_dev_by_itself(self, redis_url: str, migrated_url: str, tmp_path: Path) -> None:
        state = StateFolder(tmp_path)
        settings = {"REDIS_URL": redis_url, "DATABASE_URL": migrated_url, "COINGECKO_BASE_URL": "http://127.0.0.1:1"}
        with state.locked():
            state.secrets()
            state.record(Running(redis_url, settings=settings))
            found = run("doctor", "--state-dir", str(tmp_path), BATCH_THRESHOLD="5")
            given = run("doctor", "--state-dir", str(tmp_path), **GOOD)
            half = run("doctor", "--state-dir", str(tmp_path), DATABASE_URL=migrated_url)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.startswith(f"well     Settings   those of the dev that runs in {tmp_path}\n")
        assert "http://127.0.0.1:1 was not asked" in found.stdout
        assert given.stdout.startswith("well     Settings   those of the environment\n")

        assert half.returncode == 2
        assert half.stderr.splitlines()[-1] == (
            "the environment was read, since it has DATABASE_URL: "
            f"`unset DATABASE_URL` to look at the dev that runs in {tmp_path}"
        )

        ended = run("doctor", "--state-dir", str(tmp_path))
        assert ended.returncode == 2, "what a dev left that ended is not looked at"
        assert ended.stderr.splitlines()[-2:] == [
            "REDIS_URL: not given; it is required",
            f"no dev runs in {tmp_path}: start one with `make dev`, or set these, as .env.example shows",
        ]

    def test_what_it_does_for_coingecko_is_no_part_of_its_answer(self, redis_url: str, migrated_url: str) -> None:
        given = GOOD | {
            "REDIS_URL": redis_url,
            "DATABASE_URL": migrated_url,
            "COINGECKO_BASE_URL": "http://127.0.0.1:1",
        }
        ended = run("doctor", "--upstream", "--json", **given)
        assert (ended.returncode, ended.stderr) == (1, "")
        assert json.loads(ended.stdout)[-1]["to_do"].startswith("check COINGECKO_BASE_URL")

    def test_wrong_settings_are_2(self) -> None:
        ended = run("doctor", **GOOD | {"JWT_SECRET_FILE": "/canary"})
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("JWT_SECRET: given, and so is its file;")


@pytest.mark.parametrize("command", ["config check", "doctor", "serve"])
def test_a_secret_file_that_is_not_there_is_named_by_its_variable(command: str) -> None:
    given = GOOD | {"ADMIN_PASS": "", "ADMIN_PASS_FILE": "/canary"}
    ended = run(*command.split(), **given)
    assert ended.returncode == (1 if command == "config check" else 2)
    assert (ended.stdout + ended.stderr).splitlines() == [
        "ADMIN_PASS_FILE: names what cannot be read (No such file or directory); allowed: the path of a file"
    ]


def test_serve_tells_each_wrong_setting_in_a_line() -> None:
    ended = run("serve", **GOOD | {"PORT": "many", "JWT_SECRET": "canary"})
    assert (ended.returncode, ended.stdout) == (2, "")
    assert [line.partition(":")[0] for line in ended.stderr.splitlines()] == ["PORT", "JWT_SECRET"]
    assert "canary" not in ended.stderr


def test_serve_reads_a_secret_once_since_a_pipe_tells_it_only_once() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)  # noqa: FBT003 - takes no keyword
    os.write(writing, GOOD["ADMIN_PASS"].encode())
    os.close(writing)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = GOOD | {"ADMIN_PASS": "", "ADMIN_PASS_FILE": f"/dev/fd/{reading}", "PORT": str(port)}
        ended = run("serve", **given)
    os.close(reading)
    assert ended.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}:")


def test_a_token_is_signed_by_the_secret_of_a_file_for_who_is_configured(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(GOOD["JWT_SECRET"] + "\n", encoding="utf-8")
    given = {"JWT_SECRET_FILE": str(tmp_path / "secret"), "JWT_ISSUER": "us", "JWT_AUDIENCE": "prices"}
    made = run("token", "--sub", "ada", **given).stdout.strip()
    claims = jwt.decode(made, GOOD["JWT_SECRET"], algorithms=["HS256"], audience="prices")
    assert (claims["sub"], claims["iss"]) == ("ada", "us")


def test_a_database_may_be_named_by_a_file_to_migrate(tmp_path: Path, postgres: Any) -> None:
    (tmp_path / "url").write_text(postgres.url, encoding="utf-8")
    assert run("migrate", DATABASE_URL_FILE=str(tmp_path / "url")).returncode == 0
