"""Who is told that there is something to read."""

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from server.http1.readers import Readers


@asynccontextmanager
async def watched() -> AsyncIterator[Readers]:
    readers = Readers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.watch)
        yield readers
        nursery.cancel_scope.cancel()


async def test_each_is_told_of_its_own_socket() -> None:
    taken: list[bytes] = []
    (near, far), (silent, other) = socket.socketpair(), socket.socketpair()
    with near, far, silent, other:
        async with watched() as readers:
            readers.join(far, lambda: taken.append(far.recv(9)))
            readers.join(other, lambda: taken.append(other.recv(9)))
            for word in (b"one", b"two"):
                near.send(word)
                await wait_all_tasks_blocked()
    assert taken == [b"one", b"two"]


async def test_who_does_not_take_all_is_told_again_until_it_leaves() -> None:
    taken: list[bytes] = []
    near, far = socket.socketpair()

    def take() -> None:
        taken.append(far.recv(1))
        if len(taken) == 2:
            readers.leave(far)

    with near, far:
        async with watched() as readers:
            readers.join(far, take)
            near.send(b"abc")
            await wait_all_tasks_blocked()
            assert taken == [b"a", b"b"]
            readers.join(far, lambda: taken.append(far.recv(9)))
            await wait_all_tasks_blocked()
    assert taken == [b"a", b"b", b"c"]


async def test_of_very_many_at_once_the_first_do_not_wait_for_the_last() -> None:
    """Whoever has something to do for the first gets to it before the last are told."""
    told: list[str] = []
    pairs = [socket.socketpair() for _ in range(200)]
    with ExitStack() as open_sockets:
        for near, far in pairs:
            open_sockets.enter_context(near)
            open_sockets.enter_context(far)
        async with watched() as readers, trio.open_nursery() as nursery:

            async def act() -> None:
                told.append("acted")

            def take(sock: socket.socket) -> None:
                sock.recv(9)
                if not told:
                    nursery.start_soon(act)
                told.append("told")

            for near, far in pairs:
                readers.join(far, partial(take, far))
                near.send(b"one")
            await wait_all_tasks_blocked()
    assert told.count("told") == 200
    assert told[-1] == "told"


async def test_who_leaves_before_its_turn_is_not_told() -> None:
    told: list[socket.socket] = []
    pairs = [socket.socketpair() for _ in range(200)]
    with ExitStack() as open_sockets:
        for near, far in pairs:
            open_sockets.enter_context(near)
            open_sockets.enter_context(far)
        async with watched() as readers:

            def leave_all(sock: socket.socket) -> None:
                told.append(sock)
                for _, far in pairs:
                    readers.leave(far)

            for near, far in pairs:
                readers.join(far, partial(leave_all, far))
                near.send(b"one")
            await wait_all_tasks_blocked()
    assert len(told) == 1
