"""Instances to watch, that can be killed and started again: real ones, on a Valkey and a Postgres of their own.

with running_stage(folder, {"BATCH_WINDOW_MS": "2000"}) as stage:
    stage.start()
    stage.ask("bitcoin")
    stage.kill(0)
"""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.monitor_terminal import cpu_s_of
from benchmarks.service import clean_environment
from server.auth import issue_token
from server.local import running_postgres, running_valkey
from server.local.upstream import SIMULATE

_CRYPTOPULSE = (sys.executable, "-P", "-m", "cryptopulse")
_READY_WITHIN_S = 30
_END_WITHIN_S = 12


class Stage:
    """Where it all is, and the instances."""

    def __init__(self, redis_url: str, simulator_url: str, environment: Mapping[str, str], log: Path) -> None:
        self.redis_url = redis_url
        self.simulator_url = simulator_url
        self._environment = environment
        self._log = log
        self.ports: list[int] = []
        self.instances: list[subprocess.Popen[bytes]] = []

    @property
    def urls(self) -> list[str]:
        """One for each instance."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def tokens(self, users: int) -> list[str]:
        """A token for each of so many users."""
        secret = self._environment["JWT_SECRET"]
        names = (f"user-{number}" for number in range(users))
        return [issue_token(secret, subject=name, username=name, expires_s=3600) for name in names]

    def start(self) -> None:
        """One more instance; returns when it is ready."""
        self.ports.append(_free_port())
        self.instances.append(self._open(self.ports[-1]))
        _wait_ready(self.urls[-1])

    def cpu_s(self) -> float:
        """What the instances have used of the processors."""
        return sum(cpu_s_of(instance.pid) for instance in self.instances)

    def kill(self, number: int) -> None:
        """As a crash does."""
        self.instances[number].kill()
        self.instances[number].wait()

    def start_again(self, number: int) -> None:
        """A killed one, on its port."""
        self.instances[number] = self._open(self.ports[number])
        _wait_ready(self.urls[number])

    def end(self) -> None:
        """All of them, in order."""
        for instance in self.instances:
            instance.terminate()
        for instance in self.instances:
            try:
                instance.wait(_END_WITHIN_S)
            except subprocess.TimeoutExpired:
                instance.kill()
                instance.wait()

    def _open(self, port: int) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            environment = {**self._environment, "PORT": str(port)}
            return subprocess.Popen([*_CRYPTOPULSE, "serve"], env=environment, stdout=log, stderr=log)  # noqa: S603 - ours


@contextmanager
def running_stage(folder: Path, settings: Mapping[str, str], latency_ms: float = 100) -> Iterator[Stage]:
    """Everything but the instances, for as long as the block."""
    with (
        running_valkey(folder / "valkey") as valkey,
        running_postgres(folder / "postgres", durable=False) as postgres,
        _running_simulator(latency_ms) as simulator_url,
    ):
        own = {"REDIS_URL": valkey.url, "DATABASE_URL": postgres.url, "COINGECKO_BASE_URL": simulator_url}
        quiet = clean_environment({"LOG_LEVEL": "warning", **settings})
        environment = {**quiet, **own, "JWT_SECRET": secrets.token_hex(32)}
        subprocess.run([*_CRYPTOPULSE, "migrate"], env=environment, check=True)  # noqa: S603 - ours
        stage = Stage(valkey.url, simulator_url, environment, folder / "instances.log")
        try:
            yield stage
        finally:
            stage.end()


@contextmanager
def _running_simulator(latency_ms: float) -> Iterator[str]:
    command = [*SIMULATE, "--latency-ms", str(latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as simulator:  # noqa: S603 - ours
        try:
            said = simulator.stdout.readline() if simulator.stdout else b""
            yield said.decode().split()[-1]
        finally:
            simulator.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_ready(url: str) -> None:
    until_s = time.monotonic() + _READY_WITHIN_S
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                if client.get(f"{url}/health/ready").is_success:
                    return
            except httpx.TransportError:
                if time.monotonic() > until_s:
                    raise
            time.sleep(0.05)
