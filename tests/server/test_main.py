"""The server as a process: how it starts, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec

from server.auth import issue_token
from server.listener import bound_socket
from tests.server.fakes import SECRET

ENVIRONMENT = {
    "ADMIN_USER": "admin",
    "ADMIN_PASS": "correct horse",
    "JWT_SECRET": SECRET,
    "DATABASE_URL": "postgresql://nowhere/none",
    "REDIS_URL": "redis://nowhere",
    "PORT": "0",
}

# The real process around a core that only acts.
SERVE = """
from contextlib import asynccontextmanager
import trio
import core.service
from tests.server.fakes import World

async def background():
    {background}

@asynccontextmanager
async def open_core(settings):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(background)
        world = World(settings)
        world.desk.holds = {holds}
        world.desk.drain = lambda: None
        yield world
        nursery.cancel_scope.cancel()

core.service.open_core = open_core
from core.settings import load_settings
from server.main import run
run(load_settings())
"""


@contextmanager
def started(*, background: str = "pass", holds: bool = False, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """A server, ended at the latest when the test is."""
    script = SERVE.format(background=background, holds=holds)
    environment = {"PATH": os.environ["PATH"], **ENVIRONMENT, **changes}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_line(process: subprocess.Popen[str], event: str) -> dict[str, str]:
    """Read the log until an event."""
    assert process.stderr is not None
    for text in process.stderr:
        line: dict[str, str] = msgspec.json.decode(text)
        if line["event"] == event:
            return line
    raise AssertionError(f"the process ended without saying {event!r}")


def test_a_port_that_is_taken_ends_it_with_one_line() -> None:
    with bound_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with started(PORT=str(port)) as process:
            _, said = process.communicate()
    assert process.returncode == 1
    address = f"127.0.0.1:{port}"
    assert said == (
        f"Cannot listen on {address}: Address already in use. Set HOST and PORT to an address that is free.\n"
    )


def test_it_serves_until_a_signal_and_ends_well() -> None:
    with started() as process:
        url = wait_line(process, "listening")["url"]
        assert httpx.get(f"{url}/health/ready").status_code == 200
        process.send_signal(signal.SIGTERM)
        wait_line(process, "draining")
        assert process.wait() == 0


def test_a_signal_ends_streams_with_a_word() -> None:
    token = issue_token(SECRET, subject="ada", username="ada", expires_s=60)
    with started() as process:
        url = wait_line(process, "listening")["url"]
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", f"{url}/v1/prices/stream?ids=bitcoin", headers=headers) as answer:
            process.send_signal(signal.SIGTERM)
            told = answer.read().decode()
        assert process.wait() == 0
    assert told.endswith('event: end\ndata: {"reason":"shutting down"}\n\n')


def test_a_background_task_that_crashes_takes_it_down_visibly() -> None:
    with started(background="raise RuntimeError('the feed broke')") as process:
        line = wait_line(process, "crashed")
        assert process.wait() == 1
    assert (line["level"], "the feed broke" in line["exception"]) == ("critical", True)


def test_a_second_signal_ends_it_at_once_and_says_so() -> None:
    token = issue_token(SECRET, subject="ada", username="ada", expires_s=60)
    head = f"GET /v1/price/bitcoin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    with started(holds=True, LOG_LEVEL="debug") as process:
        url = wait_line(process, "listening")["url"]
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.sendall(head.encode())
            httpx.get(f"{url}/health/live")
            wait_line(process, "request")
            process.send_signal(signal.SIGINT)
            wait_line(process, "draining")
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate()
    assert process.returncode == 1
    assert said.endswith("Ended by a second SIGTERM before all requests were answered.\n")
