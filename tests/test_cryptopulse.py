import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import jwt
import pytest
from click.testing import CliRunner, Result

from cryptopulse import main
from monitor.once import look_back
from monitor.recording import RecordedSource, Recording
from monitor.screens.keys import KEYS
from monitor.source import Controls, RedisSource, Source
from server.dev import DevError
from server.local.state import Running, StateFolder

DEMO = Path(__file__).parents[1] / "monitor" / "demo.jsonl.gz"
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
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
        """The sources of the monitors that were run."""
        sources: list[Source] = []
        monkeypatch.setattr("monitor.app.run", sources.append)
        return sources

    @pytest.fixture
    def urls(self, watched: list[Source], monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Where the monitors that were run looked."""
        urls: list[str] = []

        def source_of(url: str) -> RedisSource:
            urls.append(url)
            return RedisSource(url)

        monkeypatch.setattr("monitor.source.RedisSource", source_of)
        return urls

    def test_it_watches_the_redis_it_is_given(self, urls: list[str]) -> None:
        assert run("monitor", "--redis-url", "redis://given/0", REDIS_URL="redis://set/0").exit_code == 0
        assert run("monitor", REDIS_URL="redis://set/0").exit_code == 0
        assert urls == ["redis://given/0", "redis://set/0"]

    def test_it_finds_a_running_dev_by_itself(self, urls: list[str], tmp_path: Path) -> None:
        state = StateFolder(tmp_path)
        with state.locked():
            state.record(Running("redis://dev/0"))
            assert run("monitor", "--state-dir", str(tmp_path)).exit_code == 0
        assert urls == ["redis://dev/0"]

    def test_it_records_into_a_new_file(self, watched: list[Source], tmp_path: Path) -> None:
        path = tmp_path / "new.jsonl"
        assert run("monitor", "--redis-url", "redis://given/0", "--record", str(path)).exit_code == 0
        [recorded] = watched
        assert isinstance(recorded, RecordedSource)
        recorded.close()
        again = run("monitor", "--redis-url", "redis://given/0", "--record", str(path))
        assert (again.exit_code, only_line(again.stderr)) == (
            1,
            f"Error: {path} cannot be recorded to: File exists",
        )

    def test_it_replays_what_ships_without_any_redis(self, watched: list[Source]) -> None:
        assert run("monitor", "--replay", str(DEMO), "--at", "30", "--speed", "2").exit_code == 0
        [source] = watched
        assert isinstance(source, Controls)
        assert (round(source.position_s), source.speed) == (30, 2)

    def test_the_recording_that_ships_has_a_crash_in_it_and_is_small(self) -> None:
        before, after = (look_back(Recording(DEMO), at_s).state.instances for at_s in (20, 32))
        assert [instance.condition for instance in before.values()] == ["up", "up"]
        assert sorted(instance.condition for instance in after.values()) == ["silent", "up"]
        assert DEMO.stat().st_size < 1_000_000

    def test_the_picture_of_it_leads_nowhere_else(self) -> None:
        picture = (Path(__file__).parents[1] / "docs" / "monitor.svg").read_text(encoding="utf-8")
        assert "bitcoin" in picture
        assert set(re.findall(r"\w+://[^\s\"')<]+", picture)) == {"http://www.w3.org/2000/svg"}

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (["--at", "3"], "--at needs --replay."),
            (["--speed", "2"], "--speed needs --replay."),
            (["--json"], "--json needs --once."),
            (["--port", "8001"], "--port needs --web."),
            (["--once", "--web"], "--once and --web do not go together."),
            (["--record", "a.jsonl", "--once"], "--record and --once do not go together."),
            (["--record", "a.jsonl", "--replay", "b.jsonl"], "--record and --replay do not go together."),
        ],
    )
    def test_options_that_make_no_sense_together_are_refused(self, words: list[str], why: str) -> None:
        result = run("monitor", "--redis-url", "redis://given/0", *words)
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, f"Error: {why}")

    def test_every_option_and_every_key_is_documented(self) -> None:
        documented = (Path(__file__).parents[1] / "docs" / "monitor.md").read_text(encoding="utf-8")
        options = [option.opts[0] for option in main.commands["monitor"].params]
        assert [option for option in options if f"| `{option}" not in documented] == []
        assert [key for key in KEYS if f"| `{key.shown}` | {key.says} |" not in documented] == []

    def test_without_a_terminal_it_says_so(self) -> None:
        command = [sys.executable, "-m", "cryptopulse", "monitor", "--redis-url", "redis://127.0.0.1:1"]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "The monitor draws on a terminal, and this is none: run it in one.\n"

    def test_what_a_killed_dev_wrote_is_not_believed(self, watched: list[Source], tmp_path: Path) -> None:
        StateFolder(tmp_path).record(Running("redis://dev/0"))
        result = run("monitor", "--state-dir", str(tmp_path))
        assert (result.exit_code, watched) == (1, [])
        assert only_line(result.stderr) == (
            f"Error: no dev runs in {tmp_path}: start one with `make dev`, or give --redis-url"
        )


class TestSimulate:
    @pytest.fixture
    def trace(self, tmp_path: Path) -> str:
        path = tmp_path / "trace.jsonl"
        path.write_text('{"at": 0, "coin": "bitcoin"}\n{"at": 3600, "coin": "bitcoin"}\n')
        return str(path)

    def test_it_tells_what_traffic_would_cost_without_any_secret(self, trace: str) -> None:
        result = run("simulate", trace, UPSTREAM_CALLS_PER_MONTH="100")
        assert result.exit_code == 0
        assert "upstream calls            2; the fewest that answer all within the window: 2" in result.output
        assert "1,440, 1,440% of UPSTREAM_CALLS_PER_MONTH=100" in result.output

    def test_of_a_short_trace_it_makes_no_month(self, tmp_path: Path) -> None:
        path = tmp_path / "trace.jsonl"
        path.write_text('{"at": 0, "coin": "bitcoin"}\n')
        told = run("simulate", str(path), UPSTREAM_CALLS_PER_MONTH="10000").output
        assert "calls in 30 such days     -, the trace is too short to tell\n" in told
        assert json.loads(run("simulate", str(path), "--json").output)["calls_a_month"] is None

    def test_settings_are_those_of_the_environment(self, trace: str) -> None:
        told = json.loads(run("simulate", trace, "--json", "--latency-ms", "0", BATCH_WINDOW_MS="1000").output)
        assert told["wait_ms"]["max"] == 1000

    def test_what_a_trace_cannot_tell_of_is_left_out_and_said(self, trace: str) -> None:
        result = run("simulate", trace, "--json", UPSTREAM_HONOUR_CACHE="true")
        assert json.loads(result.stdout)["calls"] == 2
        assert only_line(result.stderr).startswith("UPSTREAM_HONOUR_CACHE is left out: ")
        assert run("simulate", trace).stderr == ""

    def test_a_line_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "trace.jsonl"
        path.write_text('{"at": 0, "coin": "bitcoin"}\n{"at": 1, "coin": "BTC"}\n')
        result = run("simulate", str(path))
        assert result.exit_code == 1
        assert only_line(result.stderr).startswith(f"Error: {path} cannot be read: line 2: A coin id is")

    def test_where_there_is_no_trace_the_help_is_named_which_tells_its_form(self, tmp_path: Path) -> None:
        result = run("simulate", str(tmp_path / "none"))
        assert result.exit_code == 2
        assert "No such file or directory. `cryptopulse simulate --help` says what a trace is." in result.stderr

    def test_a_wrong_setting_is_named(self, trace: str) -> None:
        result = run("simulate", trace, BATCH_THRESHOLD="three")
        assert (result.exit_code, only_line(result.stderr).partition(":")[0]) == (2, "BATCH_THRESHOLD")


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
        told = only_line(result.stderr)
        assert told.startswith("Error: The database could not be migrated: ")
        assert told.endswith(": check DATABASE_URL, and that Postgres runs there")


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
    for name in ("dev", "serve", "config", "doctor", "monitor", "migrate", "simulate", "token"):
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
