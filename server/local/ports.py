"""Where an instance listens, and where it is reached from this machine."""

import socket

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound


def reachable_at(host: str | None, port: int) -> str:
    """The URL of an instance whose HOST is `host`."""
    address = _address(host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def taken(host: str | None, port: int) -> bool:
    """Whether somebody listens there already."""
    address = _address(host)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, port), family=family).close()
    except OSError:
        return True
    return False


def _address(host: str | None) -> str:
    return _EVERYWHERE.get(host or "", host or "127.0.0.1")
