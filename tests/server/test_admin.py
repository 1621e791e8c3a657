"""The admin's password, plain or as a hash."""

import threading

import argon2
import httpx
import pytest
import trio
from trio.testing import MockClock

from core.errors import TooBusy
from server import admin
from server.admin import Admin
from server.app import create_app
from tests.server.fakes import World, http_client, make_settings

HASH = argon2.PasswordHasher(memory_cost=64, time_cost=1).hash("opensesame")


@pytest.mark.parametrize("password", ["opensesame", HASH])
@pytest.mark.parametrize(
    ("given", "is_right"),
    [
        (("admin", "opensesame"), True),
        (("admin", "opensesam"), False),
        (("nobody", "opensesame"), False),
        (("admin", ""), False),
        (("admin", "\0💩"), False),
        (("admin", HASH), False),
    ],
)
async def test_only_the_right_name_with_the_right_password_is_right(
    password: str, given: tuple[str, str], is_right: bool
) -> None:
    assert await Admin("admin", password).is_right(*given) is is_right


async def test_whoever_knows_only_the_hash_cannot_log_in() -> None:
    world = World(make_settings(admin_pass=HASH))
    async with http_client(create_app(world.services())) as client:

        async def log_in(password: str) -> httpx.Response:
            return await client.post("/auth/login", json={"username": "admin", "password": password})

        assert [(await log_in(password)).status_code for password in ("opensesame", HASH)] == [200, 401]


async def test_a_wrong_name_is_compared_as_long_as_a_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def note(expected: str, given: str) -> bool:
        compared.append(given)
        return True

    monkeypatch.setattr(admin, "_is_hashed", note)
    assert not await Admin("admin", HASH).is_right("nobody", "opensesame")
    assert compared == ["opensesame"]


async def test_two_hashes_at_a_time_are_computed_and_who_waits_too_long_is_refused(
    monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    under_way, go_on, most = threading.Semaphore(0), threading.Event(), 0

    def slow(expected: str, given: str) -> bool:
        nonlocal most
        most += 1
        under_way.release()
        return go_on.wait(10)

    monkeypatch.setattr(admin, "_is_hashed", slow)
    tried, refused = Admin("admin", HASH), 0

    async def log_in() -> None:
        nonlocal refused
        try:
            await tried.is_right("admin", "opensesame")
        except TooBusy:
            refused += 1

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(log_in)
            for _ in range(2):
                await trio.to_thread.run_sync(under_way.acquire)
            mock_clock.jump(5)
            await trio.testing.wait_all_tasks_blocked()
            assert (most, refused) == (2, 3)
            go_on.set()
    finally:
        go_on.set()
