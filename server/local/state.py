"""The state folder of `cryptopulse dev`: its lock, its secrets, and what runs there.

with StateFolder(path).locked() as state:
    state.secrets()["JWT_SECRET"]
    state.record(Running(redis_url=…, urls=[…]))      # dev.json, which other commands read
"""

import fcntl
import os
import secrets
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

_Shape = TypeVar("_Shape")


class StateError(Exception):
    """The state folder cannot be used; str() says why, and what to do."""


class Running(msgspec.Struct, frozen=True):
    """What dev.json holds while a dev runs: where things are, and the process of each."""

    redis_url: str
    urls: Sequence[str] = ()
    pids: Mapping[str, int] = {}
    settings: Mapping[str, str] = {}  # of the servers, without the secrets that the user gave


class StateFolder:
    """The folder in which one dev at a time keeps everything."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Be the only dev in this folder; the lock ends with this process, however it ends."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.path / "lock").open("a", encoding="utf-8")
        except OSError as error:
            raise StateError(f"cannot write to {self.path}: {error.strerror}; give another --state-dir") from None
        with lock:
            if not _try_lock(lock.fileno()):
                raise StateError(
                    f"another `cryptopulse dev` runs in {self.path}: stop it, or give this one a folder and ports "
                    "of its own, such as --state-dir OTHER --port 3100 (make dev ARGS='--state-dir OTHER --port 3100')"
                )
            yield

    def is_in_use(self) -> bool:
        """Whether a dev runs in this folder right now."""
        try:
            lock = (self.path / "lock").open(encoding="utf-8")
        except OSError:
            return False
        with lock:
            return not _try_lock(lock.fileno())

    def secrets(self) -> dict[str, str]:
        """JWT_SECRET, ADMIN_USER and ADMIN_PASS of this folder, made up the first time."""
        path = self.path / "secrets.json"
        if not path.exists():
            made_up = {
                "JWT_SECRET": secrets.token_urlsafe(48),
                "ADMIN_USER": "admin",
                "ADMIN_PASS": secrets.token_urlsafe(12),
            }
            _replace(path, msgspec.json.format(msgspec.json.encode(made_up)))
        return _read(path, dict[str, str])

    def jwt_secret(self) -> str | None:
        """The secret that signs this folder's tokens; None when no dev ever ran here."""
        return self.secrets()["JWT_SECRET"] if (self.path / "secrets.json").exists() else None

    def running(self) -> Running | None:
        """What runs here right now; None where no dev does."""
        return self.recorded() if self.is_in_use() else None

    def record(self, running: Running) -> None:
        """Say in dev.json what runs here."""
        _replace(self.path / "dev.json", msgspec.json.format(msgspec.json.encode(running)))

    def recorded(self) -> Running | None:
        """What dev.json says: of the dev that runs here, or of one that was killed."""
        path = self.path / "dev.json"
        return _read(path, Running) if path.exists() else None

    def forget(self) -> None:
        """Nothing runs here any more."""
        (self.path / "dev.json").unlink(missing_ok=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except msgspec.DecodeError:
        raise StateError(f"{path} is damaged: delete it, and start again") from None


def _replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, all of it or nothing."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(unfinished).replace(path)
