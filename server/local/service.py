"""A server of somebody else's making, run as our child on 127.0.0.1: started, stopped, started again.

Each belongs to a folder. It outlives an owner that is killed; who starts the next one in that folder ends it.
"""

import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, TypedDict

from server.local import processes

STOP_S = 10.0
_START_S = 20.0
_ATTEMPTS = 20
_BETWEEN_ATTEMPTS_S = 0.1


class RunAs(TypedDict, total=False):
    """What subprocess wants to know to run a program as another user; empty: as ourselves."""

    user: int
    group: int
    extra_groups: list[int]


class LocalServiceError(Exception):
    """A server did not start; str() says which, and where its log is."""


class LocalService(ABC):
    """A server on 127.0.0.1, our child; one port and one set of files over all its starts."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, port: int | None, run_as: RunAs | None = None) -> None:
        self.port = port or _free_port()
        self._port_was_given = port is not None
        self._folder = folder
        self._run_as = run_as or RunAs()
        self.log = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on port {self.port} in {self._folder}>"

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        return self._started().pid

    def start(self) -> None:
        """Start it, and return when it answers; or raise LocalServiceError."""
        self._end_leftover()
        for _ in range(_ATTEMPTS):
            began_at = self._spawn()
            if processes.wait_until(lambda: self._ended() or self._answers(), _START_S) and not self._ended():
                return
            self.stop()
            if not self._may_work_next_time(self._logged_since(began_at)):
                break
            time.sleep(_BETWEEN_ATTEMPTS_S)  # for whatever was in the way to go, which tells nobody
        raise LocalServiceError(f"{self.name} did not start; see the end of {self.log}")

    def stop(self) -> None:
        """End it and wait until it is gone: asked first, killed after 10 s. Nothing to do when it is down."""
        if self._process is None or self._ended():
            return
        processes.send(self._process.pid, self.stop_signal)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> int:
        """Block until the process of the last start has ended; its exit status."""
        return self._started().wait()

    def _spawn(self) -> int:
        """Start the process; the size of its log before that."""
        with self.log.open("ab") as log:
            began_at = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the wheel's program, words of our own
                self._command(),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the owner, which stops things in order
                **self._run_as,
            )
        return began_at

    def _logged_since(self, size: int) -> str:
        return self.log.read_bytes()[size:].decode(errors="replace")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LocalServiceError(f"{self.name} was never started")
        return self._process

    def _ended(self) -> bool:
        return self._started().poll() is not None

    def _may_work_next_time(self, log: str) -> bool:
        """Whether the start failed for a passing reason: somebody was faster to take the free port."""
        if "Address already in use" not in log or self._port_was_given:
            return False
        self.port = _free_port()
        return True

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    @abstractmethod
    def _answers(self) -> bool: ...

    @abstractmethod
    def _end_leftover(self) -> None: ...


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
