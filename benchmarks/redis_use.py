"""What servers ask of Redis: round trips from its own counters, and commands, told from those inside of scripts.

    use = counted(port)                 # at the beginning of a measured part, and at its end
    with overheard(port) as heard: ...  # how many commands clients sent, and how many ran inside of scripts

Redis counts what scripts do like what clients send, in `total_commands_processed` and in `commandstats`. MONITOR alone
tells them apart, and costs: so it listens to a short part of its own, and what it says is a share.
"""

import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

_PATIENCE_S = 5
_HEARD = re.compile(rb"^\+\d+\.\d+ \[\d+ (lua|[^\]]+)\] ", re.MULTILINE)
_LUA = b"lua"


class RedisUse(msgspec.Struct):
    """Counters; from the start, or over a part."""

    commands: int  # inside of scripts too
    reads: int  # from sockets: whatever was sent together is one
    cpu_s: float

    def since(self, before: "RedisUse") -> "RedisUse":
        """Over the part that began then."""
        return RedisUse(self.commands - before.commands, self.reads - before.reads, self.cpu_s - before.cpu_s)


class Heard(msgspec.Struct):
    """Commands that clients sent, and those that ran inside of scripts."""

    sent: int = 0
    inside: int = 0

    @property
    def sent_share(self) -> float | None:
        """Of all that Redis counts, how much was sent."""
        return self.sent / (self.sent + self.inside) if self.sent + self.inside else None


def counted(port: int) -> RedisUse:
    """The counters now."""
    told = dict(line.split(":", 1) for line in _asked(port, b"INFO stats\r\nINFO cpu\r\n") if ":" in line)
    cpu_s = float(told["used_cpu_sys"]) + float(told["used_cpu_user"])
    return RedisUse(int(told["total_commands_processed"]), int(told["total_reads_processed"]), cpu_s)


def _asked(port: int, commands: bytes) -> list[str]:
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
        connection.sendall(commands + b"QUIT\r\n")
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode().splitlines()


@contextmanager
def overheard(port: int) -> Iterator[Heard]:
    """A block in which every command is listened to; what was heard is there after it."""
    heard = Heard()
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
        connection.sendall(b"MONITOR\r\n")
        connection.recv(len(b"+OK\r\n"))
        yield heard
        origins = _HEARD.findall(_until_marked(connection, port))
    heard.inside = sum(origin == _LUA for origin in origins)
    heard.sent = len(origins) - heard.inside


def _until_marked(connection: socket.socket, port: int) -> bytes:
    """What was said until now. An idle server says something all the time, so its silence is not to be waited for."""
    mark = secrets.token_hex(8).encode()
    _asked(port, b"ECHO " + mark + b"\r\n")
    said: list[bytes] = [b""]
    while mark not in b"".join(said[-2:]):
        said.append(connection.recv(1_048_576))
        if not said[-1]:
            raise ConnectionError("Redis ended what was listened to")
    return b"".join(said).partition(mark)[0].rpartition(b"\n")[0]
