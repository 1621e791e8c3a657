import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from server.local.lifetimes import Program, Stop, kept_running, programs
from server.local.service import LocalServiceError
from server.local.valkey import LocalValkey, running_valkey

SLEEP = "import signal; signal.pause()"
FAIL = "raise SystemExit(3)"
TIDY = "import signal; signal.signal(15, lambda *_: exit(7)); print(flush=True); signal.pause()"
OUTLAST = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


def python(name: str, code: str, *, says_when_ready: bool = False) -> Program:
    return Program(name, (sys.executable, "-c", code), os.environ, says_when_ready=says_when_ready)


async def test_children_live_as_long_as_the_block() -> None:
    with trio.fail_after(10):
        async with programs([python("a", SLEEP), python("b", SLEEP)], Stop()) as children:
            assert [child.returncode for child in children] == [None, None]
    assert [child.returncode for child in children] == [-signal.SIGTERM, -signal.SIGTERM]


async def test_a_child_that_ends_by_itself_ends_everything_and_is_named() -> None:
    stop = Stop()
    with trio.fail_after(10), stop.scope:
        async with programs([python("a", SLEEP), python("the weak one", FAIL)], stop) as children:
            await trio.sleep_forever()
    assert stop.failure == "the weak one ended by itself (exit status 3); what it said stands above"
    assert [child.returncode for child in children] == [-signal.SIGTERM, 3]


async def test_a_child_that_was_killed_is_told_by_the_signal() -> None:
    stop = Stop()
    with trio.fail_after(10), stop.scope:
        async with programs([python("the victim", SLEEP)], stop) as [child]:
            os.kill(child.pid, signal.SIGKILL)
            await trio.sleep_forever()
    assert stop.failure == "the victim ended by itself (killed by SIGKILL); what it said stands above"


async def test_a_frozen_child_is_woken_to_end() -> None:
    with trio.fail_after(10):
        async with programs([python("frozen", TIDY, says_when_ready=True)], Stop()) as [child]:
            assert child.stdout
            await child.stdout.receive_some()
            os.kill(child.pid, signal.SIGSTOP)
    assert child.returncode == 7


async def test_a_child_that_outlasts_its_patience_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.local.lifetimes._PATIENCE_S", 0.1)
    with trio.fail_after(10):
        async with programs([python("stubborn", OUTLAST, says_when_ready=True)], Stop()) as [child]:
            assert child.stdout
            await child.stdout.receive_some()
    assert child.returncode == -signal.SIGKILL


async def test_the_inner_block_is_over_before_the_outer_is_asked_to_end() -> None:
    stop = Stop()
    with trio.fail_after(10), stop.scope:
        async with programs([python("outer", SLEEP)], stop) as [outer]:
            try:
                async with programs([python("inner", SLEEP)], stop) as [inner]:
                    stop.scope.cancel()
                    await trio.sleep_forever()
            finally:
                assert (inner.returncode, outer.returncode) == (-signal.SIGTERM, None)
    assert stop.failure is None


async def test_a_signal_ends_everything_without_a_failure() -> None:
    stop = Stop()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop.on_signal)
            await trio.testing.wait_all_tasks_blocked()
            with stop.scope:
                os.kill(os.getpid(), signal.SIGTERM)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    assert (stop.scope.cancelled_caught, stop.failure) == (True, None)


async def test_the_first_reason_counts() -> None:
    stop = Stop()
    with stop.scope:
        stop.because("first")
        await stop.here_because("second")
    assert stop.failure == "first"


async def test_a_server_that_ends_by_itself_ends_everything_and_its_log_is_named(tmp_path: Path) -> None:
    stop = Stop()
    with trio.fail_after(10), stop.scope:
        async with kept_running(running_valkey(tmp_path), stop) as valkey:
            os.kill(valkey.pid, signal.SIGKILL)
            await trio.sleep_forever()
    log = tmp_path / "valkey.log"
    assert stop.failure == f"valkey ended by itself (killed by SIGKILL); see the end of {log}"


async def test_a_server_that_is_asked_to_end_is_gone_after_the_block(tmp_path: Path) -> None:
    stop = Stop()
    with trio.fail_after(10), stop.scope:
        async with kept_running(running_valkey(tmp_path), stop) as valkey:
            stop.scope.cancel()
            await trio.sleep_forever()
    assert (stop.failure, valkey.wait()) == (None, 0)


async def test_a_server_that_does_not_start_is_the_failure() -> None:
    @contextmanager
    def failing() -> Generator[LocalValkey]:
        raise LocalServiceError("valkey did not start")
        yield

    stop = Stop()
    with trio.fail_after(10), stop.scope:
        async with kept_running(failing(), stop):
            pytest.fail("there is no server")
    assert stop.failure == "valkey did not start"
