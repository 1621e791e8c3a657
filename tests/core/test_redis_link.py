"""The link keeps callers apart, whatever becomes of them or of Redis."""

import os
import random
import signal
import socket
import time

import pytest
import redis
import trio

from core import lua
from core.errors import RedisUnavailable
from core.redis_connection import RedisConnection
from core.redis_link import RedisLink, RedisRefused
from server.local import LocalValkey


async def test_every_caller_gets_its_own_reply(link: RedisLink) -> None:
    replies: dict[int, bytes] = {}

    async def echo(number: int) -> None:
        replies[number] = await link.call("ECHO", str(number))

    async with trio.open_nursery() as nursery:
        for number in range(1000):
            nursery.start_soon(echo, number)

    assert replies == {number: str(number).encode() for number in range(1000)}


async def test_what_the_socket_does_not_take_at_once_goes_before_what_comes_after(link: RedisLink) -> None:
    words = ["a" * 20_000_000, "b", "c" * 20_000_000, "d"]
    replies: dict[str, bytes] = {}

    async def echo(word: str) -> None:
        replies[word[0]] = await link.call("ECHO", word)

    async with trio.open_nursery() as nursery:
        for word in words:
            nursery.start_soon(echo, word)
            await trio.lowlevel.checkpoint()

    assert replies == {word[0]: word.encode() for word in words}


async def test_a_command_is_on_its_way_before_anybody_else_has_a_turn() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        assert RedisConnection(stream).send_at_once(b"PING\r\n") == b""
        assert theirs.recv(100, socket.MSG_DONTWAIT) == b"PING\r\n"


async def test_a_command_waits_for_no_task_that_sends(link: RedisLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(RedisConnection, "send")
    with trio.fail_after(5):
        assert await link.call("PING") == b"PONG"


async def test_a_connection_that_cannot_send_at_once_says_so() -> None:
    """As over TLS."""
    ours, _theirs = trio.testing.memory_stream_pair()
    assert RedisConnection(ours).send_at_once(b"PING\r\n") == b"PING\r\n"


async def test_what_is_asked_as_soon_as_redis_is_there_goes_out_though_the_socket_takes_nothing_at_once(
    nursery: trio.Nursery, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisConnection, "send_at_once", lambda _, data: data)
    monkeypatch.setattr("core.redis_link._QUIET_S", float("inf"))
    replies: list[bytes] = []

    async def ask(link: RedisLink) -> None:
        await link.wait_up()
        replies.append(await link.call("PING"))

    with trio.fail_after(5):
        async with trio.open_nursery() as asking:
            for link in [RedisLink(redis_url) for _ in range(10)]:  # whose turn comes first is a matter of luck
                asking.start_soon(ask, link)
                nursery.start_soon(link.run)
    assert replies == [b"PONG"] * 10


async def test_callers_that_are_cancelled_never_shift_the_replies_of_others(link: RedisLink) -> None:
    wrong: list[tuple[int, bytes]] = []
    chance = random.Random(1)

    async def echo_often(number: int) -> None:
        for turn in range(50):
            with trio.move_on_after(chance.random() * 0.002):
                word = str(number * 1000 + turn).encode()
                reply = await link.call("ECHO", word)
                if reply != word:
                    wrong.append((number, reply))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(echo_often, number)

    assert wrong == []
    assert await link.call("ECHO", "still here") == b"still here"


async def test_an_error_reply_is_refused_to_its_caller_alone(link: RedisLink) -> None:
    with pytest.raises(RedisRefused) as caught:
        await link.call("NOSUCH")
    assert "unknown command" in str(caught.value.__cause__)
    assert await link.call("PING") == b"PONG"


async def test_a_script_that_redis_forgot_runs_all_the_same(link: RedisLink) -> None:
    await link.call("SCRIPT", "FLUSH")
    assert await link.run_script(lua.LOOK, ["{cryptopulse}"], ["nothing"]) == [[b"gone", b"nothing"]]


async def test_without_redis_calls_fail_at_once_and_the_link_still_starts(nursery: trio.Nursery) -> None:
    link = RedisLink("redis://127.0.0.1:1")
    await nursery.start(link.run)

    with pytest.raises(RedisUnavailable):
        await link.call("PING")


async def test_a_connection_that_breaks_fails_the_calls_under_way_and_comes_back(
    link: RedisLink, redis_url: str
) -> None:
    async def wait_in_vain() -> None:
        with pytest.raises(RedisUnavailable):
            await link.call("BLPOP", "nothing", 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_vain)
        await trio.testing.wait_all_tasks_blocked()
        with redis.Redis.from_url(redis_url) as other:
            other.client_kill_filter(_type="normal", skipme=True)
        await link.wait_down()

    with trio.fail_after(5):
        await link.wait_up()
    assert await link.call("PING") == b"PONG"


async def test_a_redis_that_stops_answering_fails_calls_and_is_used_again_when_it_goes_on(
    link: RedisLink, valkey: LocalValkey
) -> None:
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        with trio.fail_after(5), pytest.raises(RedisUnavailable):
            await link.call("PING")
        assert not link.is_up
    finally:
        os.kill(valkey.pid, signal.SIGCONT)

    with trio.fail_after(10):
        await link.wait_up()
        assert await link.call("PING") == b"PONG"


async def test_a_redis_that_stops_answering_is_noticed_though_nobody_asks_for_anything(
    link: RedisLink, valkey: LocalValkey
) -> None:
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        with trio.fail_after(5):
            await link.wait_down()
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


async def test_a_call_that_redis_does_not_come_to_in_time_fails_alone_and_its_late_reply_is_nobody_elses(
    link: RedisLink,
) -> None:
    outcomes: list[object] = []

    async def ask(*command: str) -> None:
        try:
            outcomes.append(await link.call(*command))
        except RedisUnavailable:
            outcomes.append("given up")

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask, "BLPOP", "nothing", "0.8")
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, "PING")

    assert outcomes.count("given up") >= 2
    assert None in outcomes
    assert link.is_up
    assert [await link.call("ECHO", word) for word in ("a", "b")] == [b"a", b"b"]


async def test_a_redis_that_became_a_replica_is_left_until_there_is_a_primary(link: RedisLink, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(RedisUnavailable):
                await link.call("SET", "a", "b")
            await link.wait_down()
        finally:
            client.replicaof("NO", "ONE")

    await link.wait_up()
    assert await link.call("SET", "a", "b") == b"OK"


async def test_a_process_that_stood_still_does_not_take_redis_for_lost(link: RedisLink) -> None:
    replies: list[object] = []

    async def wait_for_redis() -> None:
        replies.append(await link.call("BLPOP", "nothing", "0.2"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_redis)
        await trio.testing.wait_all_tasks_blocked()
        time.sleep(1.5)  # noqa: ASYNC251 - the whole process stands still, for longer than Redis may be silent

    assert replies == [None]
    assert link.is_up
