import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from server.local import (
    LocalPostgres,
    LocalServiceError,
    LocalValkey,
    postgres_home,
    processes,
    running_postgres,
    running_valkey,
    service,
)

GONE_WITHIN_S = 10


def client_of(valkey: LocalValkey) -> redis.Redis:
    return redis.Redis.from_url(valkey.url, decode_responses=True, retry=Retry(NoBackoff(), 0))


def put(valkey: LocalValkey, value: str) -> None:
    with closing(client_of(valkey)) as client:
        client.set("key", value)


def get(valkey: LocalValkey) -> object:
    with closing(client_of(valkey)) as client:
        return client.get("key")


def run_sql(postgres: LocalPostgres, *statements: str) -> object:
    """What the last statement returns."""

    async def talk() -> object:
        connection = await asyncpg.connect(postgres.url, timeout=10)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(talk())


def has_ended(pid: int) -> bool:
    return processes.wait_until(lambda: not processes.runs(pid), GONE_WITHIN_S)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[LocalValkey]:
    with running_valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgres]:
    with running_postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


def leave_running(tmp_path: Path, manager: str) -> int:
    """The pid of a server whose owner was killed."""
    program = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from server.local import {manager}
        with {manager}(Path({str(tmp_path)!r})) as server:
            print(server.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    owner = subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.PIPE, timeout=30)
    assert owner.returncode == -signal.SIGKILL
    return int(owner.stdout)


class TestValkey:
    def test_it_answers_at_its_url_when_the_block_begins(self, valkey: LocalValkey) -> None:
        put(valkey, "value")
        assert get(valkey) == "value"

    def test_it_listens_on_this_machine_alone(self, valkey: LocalValkey) -> None:
        with closing(client_of(valkey)) as client:
            assert client.config_get("bind") == {"bind": "127.0.0.1"}

    def test_it_is_gone_when_the_block_ends(self, tmp_path: Path) -> None:
        with running_valkey(tmp_path) as valkey:
            pid = valkey.pid
        assert has_ended(pid)

    def test_stop_and_start_keep_port_and_data(self, valkey: LocalValkey) -> None:
        put(valkey, "kept")
        url = valkey.url
        valkey.stop()
        with pytest.raises(redis.ConnectionError):
            get(valkey)
        valkey.start()
        assert (valkey.url, get(valkey)) == (url, "kept")

    def test_it_starts_again_after_it_was_killed(self, valkey: LocalValkey) -> None:
        put(valkey, "kept")
        first = valkey.pid
        os.kill(first, signal.SIGKILL)
        assert valkey.wait() == -signal.SIGKILL
        valkey.start()
        assert valkey.pid != first
        assert get(valkey) == "kept"

    def test_it_ends_although_it_was_frozen(self, valkey: LocalValkey) -> None:
        os.kill(valkey.pid, signal.SIGSTOP)
        valkey.stop()
        assert valkey.wait() == 0

    def test_without_persistence_it_comes_back_empty(self, tmp_path: Path) -> None:
        with running_valkey(tmp_path, persistent=False) as valkey:
            put(valkey, "lost")
            valkey.stop()
            valkey.start()
            assert get(valkey) is None

    def test_synced_always_when_asked_to(self, tmp_path: Path) -> None:
        with running_valkey(tmp_path, appendfsync="always") as valkey, closing(client_of(valkey)) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "always"}

    def test_two_at_once_do_not_meet(self, tmp_path: Path) -> None:
        with running_valkey(tmp_path / "a") as one, running_valkey(tmp_path / "b") as other:
            put(one, "one")
            put(other, "other")
            assert (get(one), get(other)) == ("one", "other")

    def test_a_given_port_that_is_taken_is_an_error_that_names_the_log(
        self, tmp_path: Path, valkey: LocalValkey
    ) -> None:
        with (
            pytest.raises(LocalServiceError, match=r"valkey did not start; see the end of .*valkey\.log"),
            running_valkey(tmp_path / "other", port=valkey.port),
        ):
            pass
        put(valkey, "unharmed")

    def test_a_free_port_that_somebody_else_took_first_is_given_up(
        self, tmp_path: Path, valkey: LocalValkey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free_port = service._free_port
        taken = iter([valkey.port])
        monkeypatch.setattr(service, "_free_port", lambda: next(taken, None) or free_port())
        with running_valkey(tmp_path / "other") as other:
            assert other.port != valkey.port

    def test_what_a_killed_owner_left_is_ended_and_its_data_kept(self, tmp_path: Path) -> None:
        left = leave_running(tmp_path, "running_valkey")
        assert processes.runs(left, "valkey-server")
        with running_valkey(tmp_path) as valkey:
            assert has_ended(left)
            assert valkey.pid != left


class TestPostgres:
    def test_it_answers_at_its_url_when_the_block_begins(self, postgres: LocalPostgres) -> None:
        assert run_sql(postgres, "select 1 + 1") == 2

    def test_nobody_gets_in_without_its_password(
        self, postgres: LocalPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres, "_password", "guessed")
        with pytest.raises(asyncpg.InvalidPasswordError):
            run_sql(postgres, "select 1")

    def test_it_is_gone_when_the_block_ends(self, tmp_path: Path) -> None:
        with running_postgres(tmp_path, durable=False) as postgres:
            pid = postgres.pid
        assert has_ended(pid)

    def test_stop_and_start_keep_port_and_data(self, postgres: LocalPostgres) -> None:
        run_sql(postgres, "create table kept (n int)", "insert into kept values (7)", "select 1")
        url = postgres.url
        postgres.stop()
        with pytest.raises(ConnectionRefusedError):
            run_sql(postgres, "select 1")
        postgres.start()
        assert (postgres.url, run_sql(postgres, "select n from kept")) == (url, 7)

    def test_it_starts_again_after_it_was_killed(self, postgres: LocalPostgres) -> None:
        run_sql(postgres, "create table also_kept (n int)", "select 1")
        os.kill(postgres.pid, signal.SIGKILL)
        assert postgres.wait() == -signal.SIGKILL
        postgres.start()
        assert run_sql(postgres, "select count(*) from also_kept") == 0

    def test_a_pid_file_that_names_another_program_does_not_stop_it(self, postgres: LocalPostgres) -> None:
        os.kill(postgres.pid, signal.SIGKILL)
        postgres.wait()
        pid_file = postgres._data / "postmaster.pid"
        _, _, rest = pid_file.read_text().partition("\n")
        with subprocess.Popen(["sleep", "60"], **postgres._home.run_as) as bystander:
            pid_file.write_text(f"{bystander.pid}\n{rest}")
            try:
                postgres.start()
                assert run_sql(postgres, "select 1") == 1
                assert bystander.poll() is None
            finally:
                bystander.kill()

    def test_the_cluster_is_there_again_next_time(self, tmp_path: Path) -> None:
        with running_postgres(tmp_path) as postgres:
            run_sql(postgres, "create table kept (n int)", "insert into kept values (7)", "select 1")
        with running_postgres(tmp_path) as postgres:
            assert run_sql(postgres, "select n from kept") == 7
            postgres._home.remove_cluster()

    def test_a_folder_that_only_its_owner_may_enter_is_good_enough(self, tmp_path: Path) -> None:
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o700)
        with running_postgres(locked / ("a very long name" * 12), durable=False) as postgres:
            assert run_sql(postgres, "select 1") == 1

    def test_what_a_killed_owner_left_is_ended_and_its_data_kept(self, tmp_path: Path) -> None:
        left = leave_running(tmp_path, "running_postgres")
        assert processes.runs(left, "postgres")
        with running_postgres(tmp_path, durable=False) as postgres:
            assert has_ended(left)
            assert run_sql(postgres, "select 1") == 1

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root's clusters live outside the state folder")
    def test_the_home_of_a_state_folder_that_is_gone_is_removed_with_its_server(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        left = leave_running(gone, "running_postgres")
        home = postgres_home.home_for(gone.resolve()).folder
        gone.rename(tmp_path / "elsewhere")
        with running_postgres(tmp_path / "next", durable=False):
            assert has_ended(left)
            assert not home.exists()


def test_a_process_that_is_not_what_the_pid_file_says_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        assert processes.wait_until(lambda: processes.runs(bystander.pid), GONE_WITHIN_S)
        processes.end(bystander.pid, "valkey-server", patience_s=0)
        assert processes.runs(bystander.pid, "input()")
        bystander.communicate(b"\n")
        assert bystander.returncode == 0


def test_a_process_that_ignores_term_is_killed() -> None:
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            processes.end(process.pid, "signal.pause", patience_s=0.1)
            assert process.wait(GONE_WITHIN_S) == -signal.SIGKILL
        finally:
            process.kill()
