"""Many streams read by one process of its own, as cheaply as sockets allow; started by `benchmarks.streams`.

Takes a line of JSON, a `Crowd`; says `ready` when every stream is open; reads until its input ends, and writes what it
was told, a JSON list a stream of each price's id and when it came, by the clock that all processes of a machine share.
"""

import re
import selectors
import socket
import sys
import time

import msgspec

_ID = re.compile(rb"event: price\ndata: .*\nid: (\S+)\n")
_CONNECT_S = 10.0


class Crowd(msgspec.Struct, frozen=True):
    """Where to connect, and what each stream asks for."""

    host: str
    port: int
    heads: list[str]


class _Reader:
    """One stream, and what it was told."""

    def __init__(self, crowd: Crowd, head: str) -> None:
        self.socket = socket.create_connection((crowd.host, crowd.port), timeout=_CONNECT_S)
        self.socket.sendall(head.encode())
        self._text = b""
        while b"\r\n\r\n" not in self._text:
            self._text += self._received()
        if not self._text.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"refused: {self._text!r}")
        self.socket.settimeout(0)
        self.told: list[tuple[str, float]] = []

    def read(self) -> None:
        """Take in what came, and when."""
        self._text += self._received()
        now = time.monotonic()
        end = 0
        for match in _ID.finditer(self._text):
            self.told.append((match[1].decode(), now))
            end = match.end()
        self._text = self._text[end:]

    def _received(self) -> bytes:
        part = self.socket.recv(65_536)
        if not part:
            sys.exit(f"a stream ended: {self._text[-200:]!r}")
        return part


def main() -> None:
    """Read until the input ends."""
    crowd = msgspec.json.decode(sys.stdin.readline(), type=Crowd)
    readers = [_Reader(crowd, head) for head in crowd.heads]
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader.socket, selectors.EVENT_READ, reader)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while (ready := [key.data for key, _ in selector.select()]) and None not in ready:
            for reader in ready:
                reader.read()
    sys.stdout.buffer.write(msgspec.json.encode([reader.told for reader in readers]))


if __name__ == "__main__":
    main()
