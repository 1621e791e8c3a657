import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import jwt
import pytest
from click.testing import CliRunner, Result

from cryptopulse import main
from server.dev import DevError
from server.local.state import Running, StateFolder

SECRET = "a secret of at least 32 bytes, for tests"
NOT_GIVEN: dict[str, str | None] = dict.fromkeys(
    ("ADMIN_USER", "ADMIN_PASS", "JWT_SECRET", "DATABASE_URL", "REDIS_URL", "COINGECKO_API_KEY", "PORT")
)


def run(*words: str, **environment: str) -> Result:
    return CliRunner().invoke(main, words, env=NOT_GIVEN | environment)


def only_line(text: str) -> str:
    [line] = text.splitlines()
    return line


def claims_of(token: str, secret: str = SECRET) -> dict[str, object]:
    claims: dict[str, object] = jwt.decode(token.strip(), secret, algorithms=["HS256"])
    return claims


class TestToken:
    def test_it_speaks_for_its_subject_for_30_days(self) -> None:
        before = int(time.time())
        result = run("token", "--sub", "ada", JWT_SECRET=SECRET)
        claims = claims_of(result.output)
        assert (claims["sub"], claims["username"]) == ("ada", "ada")
        assert before + 30 * 86_400 <= int(str(claims["exp"])) <= time.time() + 30 * 86_400

    def test_a_name_and_an_end_of_its_own(self) -> None:
        claims = claims_of(run("token", "--sub", "7", "--username", "Ada", "--expires", "1h", JWT_SECRET=SECRET).output)
        assert claims["username"] == "Ada"
        assert int(str(claims["exp"])) - int(str(claims["iat"])) == 3600

    @pytest.mark.parametrize("expires", ["0", "1w", "soon", "-1h", ""])
    def test_a_duration_that_is_none_is_told_with_an_example(self, expires: str) -> None:
        result = run("token", "--sub", "ada", "--expires", expires, JWT_SECRET=SECRET)
        assert result.exit_code == 2
        assert f"{expires!r} is not a duration such as 1h, 30m, 7d, or seconds" in result.stderr

    def test_without_a_secret_it_is_signed_for_the_dev_of_the_folder(self, tmp_path: Path) -> None:
        secret = StateFolder(tmp_path).secrets()["JWT_SECRET"]
        result = run("token", "--sub", "ada", "--state-dir", str(tmp_path))
        assert claims_of(result.output, secret)["sub"] == "ada"

    def test_the_secret_of_the_environment_comes_first(self, tmp_path: Path) -> None:
        StateFolder(tmp_path).secrets()
        result = run("token", "--sub", "ada", "--state-dir", str(tmp_path), JWT_SECRET=SECRET)
        assert claims_of(result.output)["sub"] == "ada"

    def test_without_any_secret_it_says_what_to_do(self, tmp_path: Path) -> None:
        result = run("token", "--sub", "ada", "--state-dir", str(tmp_path / "none"))
        assert result.exit_code == 1
        assert only_line(result.stderr) == (
            f"Error: JWT_SECRET is not set, and no dev ever ran in {tmp_path / 'none'}: set it, or run `make dev`"
        )


class TestMonitor:
    @pytest.fixture
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        urls: list[str] = []
        monkeypatch.setattr("monitor.app.run", urls.append)
        return urls

    def test_it_watches_the_redis_it_is_given(self, watched: list[str]) -> None:
        assert run("monitor", "--redis-url", "redis://given/0", REDIS_URL="redis://set/0").exit_code == 0
        assert run("monitor", REDIS_URL="redis://set/0").exit_code == 0
        assert watched == ["redis://given/0", "redis://set/0"]

    def test_it_finds_a_running_dev_by_itself(self, watched: list[str], tmp_path: Path) -> None:
        state = StateFolder(tmp_path)
        with state.locked():
            state.record(Running("redis://dev/0"))
            assert run("monitor", "--state-dir", str(tmp_path)).exit_code == 0
        assert watched == ["redis://dev/0"]

    def test_without_a_terminal_it_says_so(self) -> None:
        command = [sys.executable, "-m", "cryptopulse", "monitor", "--redis-url", "redis://127.0.0.1:1"]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "The monitor draws on a terminal, and this is none: run it in one.\n"

    def test_what_a_killed_dev_wrote_is_not_believed(self, watched: list[str], tmp_path: Path) -> None:
        StateFolder(tmp_path).record(Running("redis://dev/0"))
        result = run("monitor", "--state-dir", str(tmp_path))
        assert (result.exit_code, watched) == (1, [])
        assert only_line(result.stderr) == (
            f"Error: no dev runs in {tmp_path}: start one with `make dev`, or give --redis-url"
        )


class TestDev:
    def test_what_went_wrong_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def fail(*arguments: object) -> NoReturn:
            raise DevError("port 3000 is taken")

        monkeypatch.setattr("server.dev.run", fail)
        result = run("dev", "--state-dir", str(tmp_path))
        assert (result.exit_code, only_line(result.stderr)) == (1, "Error: port 3000 is taken")

    def test_servers_beyond_the_last_port_are_refused(self) -> None:
        result = run("dev", "--port", "65535", "--instances", "2")
        assert result.exit_code == 2
        assert "2 servers from port 65535 up go beyond port 65535." in result.stderr


class TestMigrate:
    def test_without_a_database_it_says_so(self) -> None:
        result = run("migrate")
        assert (result.exit_code, only_line(result.stderr)) == (2, "DATABASE_URL: not given; it is required")

    def test_a_database_that_does_not_answer_is_one_line(self) -> None:
        result = run("migrate", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
        assert result.exit_code == 1
        assert only_line(result.stderr).startswith("Error: The database could not be migrated")


def test_serve_names_each_setting_that_is_missing_and_exits_with_2() -> None:
    result = run("serve", ADMIN_USER="admin", REDIS_URL="redis://127.0.0.1:1", JWT_SECRET="short")
    assert result.exit_code == 2
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == [
        "ADMIN_PASS",
        "JWT_SECRET",
        "DATABASE_URL",
    ]


def test_it_knows_its_version() -> None:
    assert run("--version").output == "cryptopulse 0.1.0\n"


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-P", "-m", "cryptopulse", "--help"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    for name in ("dev", "serve", "monitor", "migrate", "token"):
        assert f"\n  {name} " in shown


def test_a_token_is_made_without_loading_what_it_does_not_need() -> None:
    program = """
import os, sys
from click.testing import CliRunner
from cryptopulse import main
assert CliRunner().invoke(main, ["token", "--sub", "ada"]).exit_code == 0
print([name for name in ("textual", "quart", "hypercorn", "sqlalchemy", "asyncpg") if name in sys.modules])
"""
    command = [sys.executable, "-c", program]
    environment = {"JWT_SECRET": SECRET}
    loaded = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=30)
    assert loaded.stdout == "[]\n"
