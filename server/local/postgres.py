"""A real Postgres from its wheel."""

import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from server.local import processes
from server.local.postgres_home import PostgresHome, home_for, remove_deserted
from server.local.service import STOP_S, LocalService, LocalServiceError

_INITDB_S = 60.0


class LocalPostgres(LocalService):
    """A Postgres with one user, `postgres`, whose password is kept in its folder."""

    name = "postgres"
    # TERM would wait for every client to leave; INT rolls back, checkpoints and ends.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, home: PostgresHome, *, durable: bool) -> None:
        super().__init__(folder, None, home.run_as)
        self._home = home
        self._data = home.folder / "data"
        self._pid_file = self._data / "postmaster.pid"
        self._password = _made_up_once(folder / "password")
        self._durable = durable

    @property
    def url(self) -> str:
        """A `postgresql://` URL with the password in it."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, after making the cluster if there is none; or raise LocalServiceError."""
        if not self._data.exists():
            self._make_cluster()
        super().start()

    def _command(self) -> list[str]:
        where = ["-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        durability = [] if self._durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        return [str(self._home.programs / "postgres"), *where, *durability]

    def _answers(self) -> bool:
        lines = processes.lines_of(self._pid_file)
        return lines[:1] == [str(self.pid)] and lines[-1].strip() == "ready"

    def _may_work_next_time(self, log: str) -> bool:
        # The children of a killed postmaster leave within moments, and hold its shared memory until then.
        return "still in use" in log or super()._may_work_next_time(log)

    def _end_leftover(self) -> None:
        _end_postgres_of(self._home.folder)

    def _make_cluster(self) -> None:
        """Run initdb beside the place and move the result there: a half-made cluster is never used."""
        workshop = Path(tempfile.mkdtemp(prefix="new-", dir=self._home.folder))
        password = workshop / "password"
        password.write_text(self._password, encoding="utf-8")
        for path in (workshop, password):
            self._home.give(path)
        self._initdb(workshop / "data", password)
        (workshop / "data").rename(self._data)
        shutil.rmtree(workshop)

    def _initdb(self, data: Path, password: Path) -> None:
        who = ["-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(password)]
        how = ["--encoding", "UTF8", "--no-locale", *([] if self._durable else ["--no-sync"])]
        initdb = subprocess.run(  # noqa: S603 - the wheel's program, words of our own
            [str(self._home.programs / "initdb"), "-D", str(data), *who, *how],
            cwd=self._home.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INITDB_S,
            start_new_session=True,
            **self._home.run_as,
        )
        if initdb.returncode != 0:
            raise LocalServiceError(f"postgres could not make its cluster: {initdb.stderr[-1000:].strip()}")


@contextmanager
def running_postgres(directory: Path, *, durable: bool = True) -> Generator[LocalPostgres]:
    """A Postgres that belongs to `directory`; not `durable`: faster, thrown away at the end, for tests."""
    directory.mkdir(parents=True, exist_ok=True)
    home = home_for(directory.resolve())
    remove_deserted(home, before_removal=_end_postgres_of)
    postgres = LocalPostgres(directory.resolve(), home, durable=durable)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
        if not durable:
            home.remove_cluster()


def _end_postgres_of(home: Path) -> None:
    """End the Postgres that runs on the cluster in `home`, if there is one, and take its pid file away."""
    data = home / "data"
    pid = processes.pid_in(data / "postmaster.pid")
    if pid:
        processes.end(pid, "postgres", str(data), stop_with=LocalPostgres.stop_signal, patience_s=STOP_S)
        # Were that pid another program's by now, Postgres would not dare to start.
        (data / "postmaster.pid").unlink(missing_ok=True)


def _made_up_once(path: Path) -> str:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(16), encoding="utf-8")
    return path.read_text(encoding="utf-8")
