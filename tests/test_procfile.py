"""The Procfile as its users run it: by honcho in a terminal, what honcho and the instances say going to a file."""

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from core.settings import Settings
from server.auth import issue_token
from server.local import processes
from simulator import Simulator

REPOSITORY = Path(__file__).parents[1]
SECRET = "a-secret-of-more-than-thirty-two-bytes"
ENDS_WITHIN_S = 20
ESCAPE = re.compile(r"\x1b(\[[0-9;:?<>=]*[A-Za-z]|[()][A-Z0-9]|[=>])")


class Honcho:
    """A honcho that a test started, and the terminal in which it did."""

    def __init__(self, process: trio.Process, log: Path, terminal: trio.lowlevel.FdStream) -> None:
        self.process = process
        self._log = log
        self._terminal = terminal
        self._drawn = ""

    @property
    def said(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def pids(self) -> dict[str, int]:
        started = re.findall(r"(\w+)\.1 started \(pid=(\d+)\)", self.said)
        return {name: int(pid) for name, pid in started}

    async def wait_drawn(self, *words: str) -> None:
        """Read the terminal until it has shown all words."""
        while not all(word in ESCAPE.sub("", self._drawn) for word in words):
            self._drawn += (await self._terminal.receive_some()).decode(errors="replace")

    async def wait_ready(self, urls: Sequence[str]) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for url in urls:
                while await status_of(client, f"{url}/health/ready") != 200:
                    assert self.process.poll() is None, self.said
                    await trio.sleep(0.05)


async def status_of(client: httpx.AsyncClient, url: str) -> int | None:
    try:
        return (await client.get(url)).status_code
    except httpx.TransportError:
        return None


@asynccontextmanager
async def running(procfile: Path, environment: dict[str, str]) -> AsyncGenerator[Honcho]:
    """A honcho in a terminal of its own; whatever the test did, nothing of it is left afterwards."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (50, 140))
    honcho = Path(sys.executable).with_name("honcho")
    # The first terminal that the leader of a new session opens becomes that session's own.
    in_terminal = ["/bin/sh", "-c", 'exec "$@" <"$0"', os.ttyname(slave)]
    log = procfile.with_name("instances.log")
    with log.open("ab") as said:
        process = await trio.lowlevel.open_process(
            [*in_terminal, str(honcho), "-e", "/dev/null", "-f", str(procfile), "start"],
            cwd=REPOSITORY,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    async with trio.lowlevel.FdStream(master) as terminal:
        started = Honcho(process, log, terminal)
        try:
            yield started
        finally:
            os.close(slave)
            with trio.CancelScope(shield=True):
                await end(started)


async def end(honcho: Honcho) -> None:
    if honcho.process.poll() is None:
        honcho.process.terminate()
    with trio.move_on_after(ENDS_WITHIN_S):
        await honcho.process.wait()
    honcho.process.kill()
    await honcho.process.wait()
    for pid in honcho.pids.values():
        await trio.to_thread.run_sync(processes.end, pid, "cryptopulse")


@pytest.fixture
def ports() -> tuple[int, int]:
    """Free ones, in the place of 3000 and 3001, where a developer's own instances may listen."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def procfile(ports: tuple[int, int], tmp_path: Path) -> Path:
    text = (REPOSITORY / "Procfile").read_text(encoding="utf-8")
    for written, free in zip((3000, 3001), ports, strict=True):
        assert text.count(f"PORT={written} ") == 1
        text = text.replace(f"PORT={written} ", f"PORT={free} ")
    path = tmp_path / "Procfile"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def environment(redis_url: str, database_url: str) -> dict[str, str]:
    ours = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in ours} | {
        "TERM": "xterm-256color",
        "ADMIN_USER": "admin",
        "ADMIN_PASS": "correct horse",
        "JWT_SECRET": SECRET,
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
    }


@pytest.mark.timeout(120)  # three programs start and end
async def test_two_instances_share_one_batch_while_the_monitor_watches_and_term_ends_all(
    procfile: Path, ports: tuple[int, int], environment: dict[str, str], nursery: trio.Nursery
) -> None:
    simulator = Simulator()
    upstream = str(await nursery.start(simulator.serve))
    one, other = (f"http://127.0.0.1:{port}" for port in ports)
    token = issue_token(SECRET, subject="ada", username="ada", expires_s=600)
    answers: list[httpx.Response] = []

    async def ask(url: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answers.append(await client.get(f"{url}/v1/price/bitcoin", headers={"Authorization": f"Bearer {token}"}))

    async with running(procfile, environment | {"COINGECKO_BASE_URL": upstream}) as honcho:
        with trio.fail_after(60):
            await honcho.wait_ready([one, other])
            await honcho.wait_drawn("2/2 up")
            async with trio.open_nursery() as asking:
                for url in (one, other, one):
                    asking.start_soon(ask, url)
            # Of three requests one call saves two thirds.
            await honcho.wait_drawn("66.7%")

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert len({answer.headers["X-Batch-Id"] for answer in answers}) == 1
        assert {answer.headers["X-Batch-Trigger"] for answer in answers} == {"threshold"}
        assert [call.ids for call in simulator.calls] == [("bitcoin",)]

        pids = honcho.pids
        assert pids.keys() == {"web1", "web2", "monitor"}
        assert all(processes.runs(pid, "cryptopulse") for pid in pids.values())
        honcho.process.terminate()
        with trio.fail_after(ENDS_WITHIN_S):
            await honcho.process.wait()
        assert not any(processes.runs(pid) for pid in pids.values())
        assert set(re.findall(r"(web\d)\.1 stopped \(rc=(.+)\)", honcho.said)) == {("web1", "0"), ("web2", "0")}
    nursery.cancel_scope.cancel()


def test_without_a_terminal_the_monitor_says_so_and_stays(procfile: Path) -> None:
    [line] = re.findall(r"^monitor: (.+)$", procfile.read_text(encoding="utf-8"), re.MULTILINE)
    # A shell between, without a terminal as honcho would be; the line knows it as its parent.
    between = ["/bin/sh", "-c", '/bin/sh -c "$0" & echo $!; wait', line]
    with subprocess.Popen(
        between, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            assert process.stdout
            said = {process.stdout.readline(), process.stdout.readline()}
            [pid] = (int(line) for line in said if line.strip().isdigit())
            assert b"No terminal to draw on.\n" in said
            assert processes.wait_until(lambda: processes.runs(pid, "tail"), 20)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
