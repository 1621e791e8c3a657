"""A secret that changes while clients go on: instances that are restarted one after the other, step by step."""

from itertools import pairwise

import httpx

from server.auth import issue_token
from tests.service.conftest import SECRET, StartInstance

NEW = "a newer secret of thirty-two bytes or more"


async def opens(url: str, token: str) -> bool:
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        return (await client.get("/v1/price/bitcoin/history")).status_code == 200


async def log_in(url: str) -> str:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.post("/auth/login", json={"username": "admin", "password": "opensesame"})
        return str(answer.json()["accessToken"])


async def test_a_secret_is_changed_in_three_steps_and_no_token_is_refused_meanwhile(
    start_instance: StartInstance,
) -> None:
    before = {"jwt_secret": SECRET}
    announced = {"jwt_secret": SECRET, "jwt_secret_previous": NEW}
    changed = {"jwt_secret": NEW, "jwt_secret_previous": SECRET}
    over = {"jwt_secret": NEW}
    urls = [await start_instance(throttle_login_limit=100, **step) for step in (before, announced, changed, over)]

    # At any moment instances of two steps that follow each other run side by side.
    for pair in pairwise(urls):
        for token in [await log_in(url) for url in pair]:
            assert [await opens(url, token) for url in pair] == [True, True]
    # Until the last step tokens of the old secret are good; then they are over.
    old = issue_token(SECRET, subject="ann", username="ann", expires_s=60)
    assert [await opens(url, old) for url in urls] == [True, True, True, False]
