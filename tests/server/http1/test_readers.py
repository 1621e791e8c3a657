"""Who is told that there is something to read."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
