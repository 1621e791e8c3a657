import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from click.testing import CliRunner

from simulator.__main__ import main

STARTED = b"simulator listening on "


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[trio.Process]:
    command = [sys.executable, "-m", "simulator", *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def first_line(process: trio.Process) -> bytes:
    line = b""
    assert process.stdout is not None
    with trio.fail_after(30):
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some()
            assert data, line
            line += data
    return line


async def exit_code_after(process: trio.Process, told: signal.Signals) -> int:
    process.send_signal(told)
    with trio.fail_after(30):
        return await process.wait()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_listens_and_ends_cleanly_when_told(told: signal.Signals) -> None:
    async with running() as process:
        line = await first_line(process)
        assert line.startswith(STARTED)
        async with httpx.AsyncClient(base_url=line.removeprefix(STARTED).decode().strip()) as client:
            assert (await client.get("/api/v3/ping")).status_code == 200
            assert await exit_code_after(process, told) == 0


async def test_every_option_reaches_the_configuration() -> None:
    options = {"latency_ms": 1, "limit_per_minute": 5, "credits_per_month": 9, "update_period_s": 2.5, "seed": 3}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    async with running(*arguments) as process:
        url = (await first_line(process)).removeprefix(STARTED).decode().strip()
        async with httpx.AsyncClient(base_url=url) as client:
            config = (await client.post("/__config", json={})).json()
    assert {name: config[name] for name in options} == options


async def test_the_line_where_it_listens_is_all_it_prints() -> None:
    async with running() as process:
        assert (await first_line(process)).count(b"\n") == 1
        assert await exit_code_after(process, signal.SIGTERM) == 0
        assert process.stdout is not None
        assert await process.stdout.receive_some() == b""


def test_a_port_that_is_taken_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(main, ["--port", str(port)])
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: cannot listen on 127.0.0.1:{port}: ")
