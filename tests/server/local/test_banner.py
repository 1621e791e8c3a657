from dataclasses import replace

from server.local.banner import Banner

ONE = Banner(
    urls=["http://127.0.0.1:3000"],
    upstream="made up",
    redis_url="redis://127.0.0.1:6379/0",
    state_folder="/somewhere/.cryptopulse",
    monitor="make monitor",
    token="aaa.bbb.ccc",
    window_s=5,
    threshold=3,
)
PRICE = "http://127.0.0.1:{}/v1/price/bitcoin"


CURL = r"curl -si -w '\n' -H 'Authorization: Bearer aaa.bbb.ccc'"
GREP = r"grep -oE '^x-batch.*|\{.*\}'"


def commands(banner: Banner) -> list[str]:
    return [line.strip() for line in str(banner).splitlines() if "curl -s" in line]


def test_there_is_a_request_to_paste_and_a_crowd_of_them() -> None:
    price = PRICE.format(3000)
    assert commands(ONE) == [
        f"{CURL} {price}",
        f"for url in {price} {price} {price}; do {CURL} $url & done | {GREP}",
    ]


def test_with_two_servers_each_has_its_request_and_the_crowd_asks_both() -> None:
    one, other = PRICE.format(3000), PRICE.format(3001)
    assert commands(replace(ONE, urls=["http://127.0.0.1:3000", "http://127.0.0.1:3001"])) == [
        f"{CURL} {one}",
        f"{CURL} {other}",
        f"for url in {one} {other} {one}; do {CURL} $url & done | {GREP}",
    ]


def test_a_window_and_a_crowd_of_the_users_own_are_told() -> None:
    text = str(replace(ONE, window_s=0.25, threshold=4))
    assert "until its batch is 0.25 s old" in text
    assert "4 at once do not wait" in text


def test_everything_that_runs_is_told() -> None:
    for fact in (*ONE.urls, ONE.upstream, ONE.redis_url, ONE.state_folder, ONE.monitor):
        assert fact in str(ONE)
