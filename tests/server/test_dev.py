"""The whole of `cryptopulse dev`: real servers, a real terminal's signals, real kills."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from server.local import processes
from server.local.postgres_home import home_for
from server.local.state import Running, StateFolder

REPOSITORY = Path(__file__).parents[2]
CRYPTOPULSE = (sys.executable, "-P", "-m", "cryptopulse")
READY = "Watch it happen in another terminal"
READY_WITHIN_S = 40
ENDS_WITHIN_S = 20
CONTRACT = re.compile(r"^(ADMIN|JWT|DATABASE|REDIS|COINGECKO|BATCH|THROTTLE|UPSTREAM)_|^(HOST|PORT|LOG_LEVEL)$")
UNSET = {name: value for name, value in os.environ.items() if not CONTRACT.search(name)}


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
        try:
            for one in range(port, port + count):
                socket.create_server(("127.0.0.1", one)).close()
        except (OSError, OverflowError):
            continue
        return port


@contextmanager
def state_folder_in(place: Path) -> Iterator[Path]:
    """A state folder whose cluster, wherever that lies, is removed at the end."""
    folder = place / "state"
    yield folder
    if (folder / "postgres").exists():
        home_for(folder / "postgres").remove_cluster()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A state folder in which none has run yet."""
    with state_folder_in(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder for the next test after the last: to make a cluster takes longer than all else of a start."""
    with state_folder_in(tmp_path_factory.mktemp("used")) as folder:
        yield folder


class Errors:
    """What is written to a file from now on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._begin = path.stat().st_size

    def read(self) -> str:
        return self.path.read_bytes()[self._begin :].decode()


class Dev:
    """A dev that a test started, and its state folder."""

    def __init__(self, process: trio.Process, state: StateFolder, errors: Errors) -> None:
        self.process = process
        self.state = state
        self._errors = errors
        self._said = ""

    @property
    def errors(self) -> str:
        return self._errors.read()

    @property
    def running(self) -> Running:
        running = self.state.recorded()
        assert running
        return running

    async def banner(self) -> str:
        assert self.process.stdout
        with trio.fail_after(READY_WITHIN_S):
            while READY not in self._said:
                heard = await self.process.stdout.receive_some()
                assert heard, f"dev ended before it was ready: {self.errors}"
                self._said += heard.decode()
        return self._said

    async def status(self) -> int:
        with trio.fail_after(ENDS_WITHIN_S):
            return await self.process.wait()


@asynccontextmanager
async def started(
    folder: Path, *options: str, command: Sequence[str] = (*CRYPTOPULSE, "dev"), **environment: str
) -> AsyncGenerator[Dev]:
    """A dev in `folder`; whatever the test did, no process of it is left afterwards."""
    errors = Errors(folder.with_suffix(".err"))
    with errors.path.open("ab") as stderr:
        process = await trio.lowlevel.open_process(
            [*command, *options],
            env={**UNSET, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    dev = Dev(process, StateFolder(folder), errors)
    try:
        yield dev
    finally:
        with trio.CancelScope(shield=True):
            await end(dev)


async def end(dev: Dev) -> None:
    left = dev.state.recorded()
    dev.process.terminate()
    with trio.move_on_after(ENDS_WITHIN_S):
        await dev.process.wait()
    dev.process.kill()
    await dev.process.wait()
    if dev.process.stdout:
        await dev.process.stdout.aclose()
    if not dev.state.is_in_use():
        for pid in left.pids.values() if left else ():
            await trio.to_thread.run_sync(processes.end, pid)


def options(folder: Path, port: int, *more: str) -> list[str]:
    return ["--state-dir", str(folder), "--port", str(port), *more]


async def all_gone(pids: Mapping[str, int]) -> bool:
    def gone() -> bool:
        return not any(processes.runs(pid) for pid in pids.values())

    return await trio.to_thread.run_sync(processes.wait_until, gone, ENDS_WITHIN_S)


async def get(url: str, token: str, statuses: list[int]) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=15) as client:
        answer = await client.get(url, headers={"Authorization": f"Bearer {token}"})
        statuses.append(answer.status_code)


def curls_of(banner: str) -> list[tuple[str, list[str]]]:
    """The token and the URLs of each curl in the banner."""
    found = []
    for line in banner.splitlines():
        if "curl -s" in line:
            words = shlex.split(line)
            token = next(word for word in words if word.startswith("Authorization")).split()[-1]
            found.append((token, [word.rstrip(";") for word in words if word.startswith("http")]))
    return found


async def test_its_curls_are_answered_and_ctrl_c_answers_who_waits_and_ends_all_it_started(folder: Path) -> None:
    two = options(folder, free_ports(2), "--instances", "2")
    async with started(folder, *two, ADMIN_USER="ada") as dev:
        one, other, (token, crowd) = curls_of(await dev.banner())
        assert (one[1] + other[1]) == [f"{url}/v1/price/bitcoin" for url in dev.running.urls]
        assert dev.running.settings.keys() == {"ADMIN_USER", "COINGECKO_BASE_URL", "DATABASE_URL", "REDIS_URL"}
        statuses: list[int] = []
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                for url in crowd:
                    nursery.start_soon(get, url, token, statuses)
            assert statuses == [200, 200, 200]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(get, one[1][0], token, statuses)
                await trio.sleep(0.5)
                running = dev.running
                os.killpg(dev.process.pid, signal.SIGINT)  # as a terminal does
        assert statuses == [200, 200, 200, 200]
        assert await dev.status() == 0
        assert running.pids.keys() == {"dev", "valkey", "postgres", "simulator"} | {
            f"server-{url.rpartition(':')[2]}" for url in running.urls
        }
        assert await all_gone(running.pids)
        assert dev.state.recorded() is None


async def test_term_while_it_starts_leaves_nothing(folder: Path) -> None:
    async with started(folder, *options(folder, free_ports(1))) as dev:
        while not dev.state.recorded():  # noqa: ASYNC110 - another process; bounded by the test's own time limit
            await trio.sleep(0.01)
        pids = dev.running.pids
        dev.process.terminate()
        assert await dev.status() == 0
        assert await all_gone(pids)


async def test_term_to_make_alone_ends_everything(used: Path) -> None:
    arguments = shlex.join(options(used, free_ports(1)))
    binaries = f"BIN={Path(sys.executable).parent}"
    make = ("make", "-C", str(REPOSITORY), "-o", ".venv/ready", "dev", binaries, f"ARGS={arguments}")
    async with started(used, command=make) as dev:
        await dev.banner()
        pids = dev.running.pids
        dev.process.terminate()
        await dev.status()
        assert await all_gone(pids)


async def test_after_a_kill_the_next_one_ends_what_was_left_and_goes_on(used: Path) -> None:
    same = options(used, free_ports(1))
    async with started(used, *same) as killed:
        await killed.banner()
        left = killed.running
        secrets = killed.state.secrets()
        killed.process.kill()
        await killed.status()
        async with started(used, *same) as dev:
            await dev.banner()
            assert await all_gone(left.pids)
            assert dev.state.secrets() == secrets
            assert dev.running.urls == left.urls
            assert set(dev.running.pids.values()).isdisjoint(left.pids.values())


async def test_a_second_one_in_the_same_folder_or_on_the_same_port_is_told_so(used: Path, folder: Path) -> None:
    port = free_ports(1)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(started(used, *options(used, port)))
        await first.banner()
        same_folder = await stack.enter_async_context(started(used, *options(used, free_ports(1))))
        assert await same_folder.status() == 1
        assert same_folder.errors.splitlines()[-1] == (
            f"Error: another `cryptopulse dev` runs in {used}: stop it, or give this one a folder and ports "
            "of its own, such as --state-dir OTHER --port 3100 (make dev ARGS='--state-dir OTHER --port 3100')"
        )
        same_port = await stack.enter_async_context(started(folder, *options(folder, port)))
        assert await same_port.status() == 1
        instead = f"--state-dir {folder} --port {port + 100}"
        assert same_port.errors.splitlines()[-1] == (
            f"Error: port {port} is taken: end what listens there, or choose another, such as {instead} "
            f"(make dev ARGS='{instead}')"
        )
        statuses: list[int] = []
        await get(f"http://127.0.0.1:{port}/health/ready", "none", statuses)
        assert statuses == [200]


@pytest.mark.parametrize("victim", ["simulator", "server"])
async def test_a_child_that_ends_by_itself_ends_everything_and_is_named(used: Path, victim: str) -> None:
    port = free_ports(1)
    name = {"simulator": "simulator", "server": f"server-{port}"}[victim]
    told = {"simulator": "the simulator", "server": f"the server on port {port}"}[victim]
    async with started(used, *options(used, port)) as dev:
        await dev.banner()
        pids = dev.running.pids
        os.kill(pids[name], signal.SIGKILL)
        assert await dev.status() == 1
        assert dev.errors.splitlines()[-1] == (
            f"Error: {told} ended by itself (killed by SIGKILL); what it said stands above"
        )
        assert await all_gone(pids)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_a_wrong_setting_of_the_users_is_told_before_anything_is_started(folder: Path) -> None:
    async with started(folder, *options(folder, free_ports(1)), BATCH_THRESHOLD="many") as dev:
        assert await dev.status() == 2
        assert dev.errors == "BATCH_THRESHOLD: 'many' given; allowed: a whole number\n"
        assert names_in(folder) == {"lock", "secrets.json"}


async def test_live_starts_no_simulator(used: Path) -> None:
    nobody_listens = f"http://127.0.0.1:{free_ports(1)}"
    here = options(used, free_ports(1), "--live")
    async with started(used, *here, COINGECKO_BASE_URL=nobody_listens) as dev:
        assert f"from CoinGecko, {nobody_listens}" in await dev.banner()
        assert "simulator" not in dev.running.pids
