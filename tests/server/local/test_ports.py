import socket

import pytest

from server.local.ports import reachable_at, taken


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:3000"),
        ("127.0.0.1", "http://127.0.0.1:3000"),
        ("0.0.0.0", "http://127.0.0.1:3000"),
        ("::", "http://[::1]:3000"),
        ("192.0.2.7", "http://192.0.2.7:3000"),
    ],
)
def test_an_instance_is_reached_where_it_listens(host: str | None, url: str) -> None:
    assert reachable_at(host, 3000) == url


def test_a_port_is_taken_while_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert taken(None, port)
    assert not taken(None, port)
